"""One writer per output: a lock file, held while a command writes, that says who holds it.

The lock is the operating system's (flock), so it ends with its process, however that ends. Where the file was written
on another kernel (another host, on a shared file system), or the file system has no locks, what counts is whether its
holder renewed it lately.
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
from gradmeter.files import LOCK, read_json

# Seconds between two renewals of a lock file, and after how many without one a holder on another host counts as ended.
_RENEWED_EVERY, _STALE_AFTER = 10.0, 60.0
# Attempts to open a lock file that others make and remove at the same time, and seconds until the next one.
_ATTEMPTS, _PAUSE = 20, 0.05

# A link would lead to somebody's file; Windows has no such flag.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
# Of this process: which thread holds a lock file, and the open files, which no forked process may keep.
_threads: dict[Path, int] = {}
_descriptors: set[int] = set()


@dataclass(frozen=True)
class Owner:
    """Who writes an output.

    Attributes:
        pid: number of the process.
        host: name of its machine.
        kernel: what tells one running kernel from another.
        since: when it began, in local time, ISO 8601.
    """

    pid: int
    host: str
    kernel: str
    since: str

    @classmethod
    def this_process(cls) -> Owner:
        """As of now."""
        since = datetime.now().isoformat(sep=" ", timespec="minutes")
        return cls(os.getpid(), platform.node(), _kernel(), since)


@contextmanager
def owned(out: Path) -> Iterator[None]:
    """Be the only writer of an output while the block runs; a thread may own again what it owns.

    The lock file lies in the folder, which is made if need be, or beside a .csv file. Nothing of it remains when the
    block ends, nor of a folder that is still empty.

    Args:
        out: a folder, or a file that ends in ".csv"; neither need be there.

    Raises:
        OutputError: if another process or thread writes there, or nothing can be written there.
    """
    path = Path(os.path.realpath(out))  # `Path.resolve` fails on links that lead to themselves
    beside = path.suffix.lower() == ".csv" or path.is_file()
    lock = path.with_name(f".{path.name}{LOCK}") if beside else path / LOCK
    if _threads.get(lock) == threading.get_ident():
        yield
        return
    made = _make(lock.parent, out)
    try:
        with _held(lock, out):
            yield
    finally:
        for folder in reversed(made):
            with suppress(OSError):  # it is in use by now
                folder.rmdir()


def _make(folder: Path, out: Path) -> list[Path]:
    """Make a folder; those that were not there come back, outermost first."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be made ({error.strerror}); choose another --out") from error
    return missing[::-1]


@contextmanager
def _held(lock: Path, out: Path) -> Iterator[None]:
    descriptor = _locked(lock, out)
    _threads[lock] = threading.get_ident()
    ended = threading.Event()
    threading.Thread(target=_renew, args=(lock, ended), daemon=True).start()
    holder = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == holder:
            ended.set()
            del _threads[lock]
            if _is_still(descriptor, lock):
                with suppress(OSError):  # the folder may not be written any more
                    lock.unlink()
            _close(descriptor)


def _locked(lock: Path, out: Path) -> int:
    """The open lock file, which says from now on that this process owns it."""
    for _ in range(_ATTEMPTS):
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666)
        except FileNotFoundError:  # whoever made the folder found it empty and removed it
            lock.parent.mkdir(parents=True, exist_ok=True)
            continue
        except OSError as error:
            raise OutputError(f"{lock} cannot be written ({error.strerror}); choose another --out") from error
        _descriptors.add(descriptor)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OutputError(f"{lock} is no file; remove it or choose another --out")
            free, owner = _flock(descriptor), _owner(lock)
            if free is False and owner is not None:
                raise _taken(out, owner)
            if free is not False and _is_still(descriptor, lock):
                if owner is not None and not (free and owner.kernel == _kernel()) and _renewed_lately(lock):
                    raise _taken(out, owner, f"; if it was killed, try again in {_STALE_AFTER:.0f} seconds")
                _sign(descriptor, lock)
                return descriptor
        except BaseException:
            _close(descriptor)
            raise
        _close(descriptor)
        time.sleep(_PAUSE)
    raise _taken(out, _owner(lock))


def _sign(descriptor: int, lock: Path) -> None:
    """Write into the lock file, whose lock this process has, that it owns it."""
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(asdict(Owner.this_process())).encode())
    except OSError as error:  # the disk is full
        with suppress(OSError):
            lock.unlink()
        raise OutputError(f"{lock} cannot be written ({error.strerror}); make room or choose another --out") from error


def _flock(descriptor: int) -> bool | None:
    """Whether the lock is this process's now; None where there are no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _is_still(descriptor: int, lock: Path) -> bool:
    """Whether the open file is the one of that name: its last holder may have removed it meanwhile."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    return False


def _renewed_lately(lock: Path) -> bool:
    """Whether a holder of whom this kernel's locks say nothing is at work, by the clocks of both machines."""
    return time.time() - lock.stat().st_mtime < _STALE_AFTER


def _owner(lock: Path) -> Owner | None:
    """Who a lock file says its holder is; None where it does not say."""
    try:
        content = read_json(lock)
        return Owner(int(content["pid"]), str(content["host"]), str(content["kernel"]), str(content["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _taken(out: Path, owner: Owner | None, advice: str = "") -> OutputError:
    who = "another process" if owner is None else f"process {owner.pid} on {owner.host} since {owner.since}"
    return OutputError(f"{out} is being written by {who}; wait for it or choose another --out{advice}")


def _renew(lock: Path, ended: threading.Event) -> None:
    while not ended.wait(_RENEWED_EVERY):
        with suppress(OSError):
            os.utime(lock)


@cache
def _kernel() -> str:
    """What tells one running kernel from another; containers of one machine share it, whatever they are called."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()


def _close(descriptor: int) -> None:
    _descriptors.discard(descriptor)
    os.close(descriptor)


def _leave_to_parent() -> None:
    """A lock lasts as long as any process has its file open: a forked one must not outlive its parent with it."""
    for descriptor in tuple(_descriptors):
        _close(descriptor)
    _threads.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
