"""One writer per output: a lock file that names the process that writes.

The lock is an operating system lock (flock), so it ends with the process. If the lock file was written on another
machine (on a shared file system), or the file system does not support locks, the lock is valid as long as its
modification time is recent: the owner updates it regularly.
"""

from __future__ import annotations

import json
import os
import platform
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from gradmeter.errors import OutputError
from gradmeter.files import LOCK, read_json, require_path, require_short_name

# Seconds between two updates of a lock file's modification time, and its age from which a lock of another host expires.
_RENEWED_EVERY, _STALE_AFTER = 10.0, 60.0
# Suffixes of outputs that are files, in lower case.
_FILES = (".csv", ".onnx")
# Attempts to open a lock file that other processes create and delete at the same time, and seconds between attempts.
_ATTEMPTS, _PAUSE = 20, 0.05

# Do not follow a link to a user's file, nor wait for the other end of a named pipe; Windows has no such flags.
_AT_ONCE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# State of this process: the thread that owns each lock file, and the open descriptors, which forked processes close.
_threads: dict[Path, int] = {}
_descriptors: set[int] = set()


@dataclass(frozen=True)
class Owner:
    """The process that writes an output.

    Attributes:
        pid: process id.
        host: host name of its machine.
        kernel: id of the running kernel (see `_kernel`).
        since: time at which it took the lock, in local time, ISO 8601.
    """

    pid: int
    host: str
    kernel: str
    since: str

    @classmethod
    def this_process(cls) -> Owner:
        """This process, with the current time."""
        since = datetime.now().isoformat(sep=" ", timespec="minutes")
        return cls(os.getpid(), platform.node(), _kernel(), since)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Lock an output while the block runs. The lock is reentrant within a thread.

    The lock file lies in the output folder, which is created if missing, or beside a .csv or .onnx file. At the end of
    the block the lock file is deleted, and so are the created folders that are still empty.

    Args:
        out: a folder, or a file that ends in ".csv" or ".onnx"; it need not exist.

    Raises:
        OutputError: if another process or thread holds the lock, or the output cannot be written.
    """
    require_path(out)
    path = Path(os.path.realpath(out))  # `Path.resolve` fails on circular links
    beside = path.suffix.lower() in _FILES or os.path.isfile(path)  # `Path.is_file` fails in a folder without access
    lock = path.with_name(f".{path.name}{LOCK}") if beside else path / LOCK
    require_short_name(path, lock)
    if _threads.get(lock) == threading.get_ident():
        yield
        return
    created = _create(lock.parent, out)
    try:
        with _hold(lock, out):
            yield
    finally:
        for folder in created:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _create(folder: Path, out: Path) -> list[Path]:
    """Create a folder; return the created folders, innermost first."""
    missing = [parent for parent in (folder, *folder.parents) if not os.path.exists(parent)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = "is not a folder" if os.path.exists(folder) else f"cannot be created ({error.strerror})"
        raise OutputError(f"{out} {problem}; choose another --out") from error
    return missing


@contextmanager
def _hold(lock: Path, out: Path) -> Iterator[None]:
    """Take the lock, renew it while the block runs, and delete the lock file at the end."""
    descriptor = _acquire(lock, out)
    _threads[lock] = threading.get_ident()
    ended = threading.Event()
    owner = os.getpid()
    try:
        threading.Thread(target=_renew, args=(lock, ended), daemon=True).start()  # fails at the limit of processes
        yield
    finally:
        if os.getpid() == owner:  # not in a forked process
            ended.set()
            del _threads[lock]
            if _is_same_file(descriptor, lock):
                with suppress(OSError):  # the folder may have become read-only
                    lock.unlink()
            _close(descriptor)


def _acquire(lock: Path, out: Path) -> int:
    """Open and lock the lock file and write this process into it; return its descriptor."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            descriptor, writable = _open(lock)
        except FileNotFoundError as error:
            # The process that created the folder has deleted it, or the file system creates no files, such as /proc.
            if attempt == _ATTEMPTS:
                raise _unwritable(lock, out, error) from error
            _create(lock.parent, out)
            continue
        except OSError as error:
            raise _unwritable(lock, out, error) from error
        _descriptors.add(descriptor)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OutputError(f"{lock} is not a regular file; delete it or choose another --out")
            free, owner = _flock(descriptor), _owner(lock)
            if free is False and owner is not None:
                raise _locked_error(out, owner)
            if free is not False and _is_same_file(descriptor, lock):
                if owner is not None and not (free and owner.kernel == _kernel()) and (advice := _until_expired(lock)):
                    raise _locked_error(out, owner, f"; if it was killed, {advice}")
                if writable:
                    _write_owner(descriptor, lock, out)
                    return descriptor
                _delete(lock, out)
        except BaseException:
            _close(descriptor)
            raise
        _close(descriptor)
        time.sleep(_PAUSE)
    raise _locked_error(out, _owner(lock))


def _open(lock: Path) -> tuple[int, bool]:
    """Open the lock file, and create it if missing; return its descriptor and whether it can be written.

    One that another user's process left can often only be read.
    """
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | _AT_ONCE, 0o666), True
    except PermissionError:
        with suppress(OSError):
            return os.open(lock, os.O_RDONLY | _AT_ONCE), False
        raise


def _delete(lock: Path, out: Path) -> None:
    """Delete a lock file that can only be read, so that this process can create its own."""
    try:
        lock.unlink()
    except OSError as error:
        raise _unwritable(lock, out, error) from error


def _write_owner(descriptor: int, lock: Path, out: Path) -> None:
    """Write this process into the lock file that it has locked."""
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(asdict(Owner.this_process())).encode())
    except OSError as error:  # the disk is full
        with suppress(OSError):
            lock.unlink()
        raise _unwritable(lock, out, error, "make room or ") from error


def _flock(descriptor: int) -> bool | None:
    """Whether this process got the operating system's lock; None if the file system does not support locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the file system does not support locks
        return None
    return True


def _is_same_file(descriptor: int, lock: Path) -> bool:
    """Whether the open file is still the one at this path; its last owner may have deleted it in the meantime."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    return False


def _until_expired(lock: Path) -> str:
    """What to do until a lock of another machine expires; empty if its time is so old that the owner no longer runs.

    A time in the future comes from a clock that is wrong, or was when the owner was killed; waiting does not help then.
    """
    age = time.time() - lock.stat().st_mtime
    if age >= _STALE_AFTER:
        return ""
    return f"try again in {_STALE_AFTER:.0f} seconds" if age > -_STALE_AFTER else f"delete {lock}"


def _owner(lock: Path) -> Owner | None:
    """The owner written in a lock file; None if it cannot be read."""
    try:
        content = read_json(lock)
        return Owner(int(content["pid"]), str(content["host"]), str(content["kernel"]), str(content["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _locked_error(out: Path, owner: Owner | None, advice: str = "") -> OutputError:
    writer = "another process" if owner is None else f"process {owner.pid} on {owner.host} since {owner.since}"
    return OutputError(f"{out} is being written by {writer}; wait for it or choose another --out{advice}")


def _unwritable(lock: Path, out: Path, error: OSError, advice: str = "") -> OutputError:
    return OutputError(f"{out} cannot be written ({error.strerror}: {lock}); {advice}choose another --out")


def _renew(lock: Path, ended: threading.Event) -> None:
    while not ended.wait(_RENEWED_EVERY):
        with suppress(OSError):
            os.utime(lock)


@cache
def _kernel() -> str:
    """The boot id of the running kernel. Containers of one machine share it, although their host names differ."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()


def _close(descriptor: int) -> None:
    _descriptors.discard(descriptor)
    os.close(descriptor)


def _release_in_child() -> None:
    """Close inherited lock files: a forked process that keeps one open would hold the lock after its parent ends."""
    for descriptor in tuple(_descriptors):
        _close(descriptor)
    _threads.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)
