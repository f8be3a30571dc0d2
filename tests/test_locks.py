"""At most one process writes an output, and a lock ends with its process."""

import errno
import fcntl
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from driven.privileges import unprivileged
from gradmeter import OutputError, locks
from gradmeter.files import LOCK, is_incidental
from gradmeter.locks import locked

# Holds the lock of an output until its standard input ends.
HOLDING = """
import sys
from pathlib import Path
from gradmeter.locks import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(out: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock of an output."""
    command = [sys.executable, "-c", HOLDING, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield process
        finally:
            process.kill()


def refusal(out: Path) -> str:
    """The message of the error for an output that cannot be locked."""
    with pytest.raises(OutputError) as caught, locked(out):
        pytest.fail("locked twice")
    return str(caught.value)


@pytest.mark.parametrize("name", ["s3://bucket/trust", "gs://bucket/labels.review", "file:///tmp/network.onnx"])
def test_an_address_is_no_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a folder named "s3:" on this machine, which is lost with it."""
    monkeypatch.chdir(tmp_path)
    assert f"{name.replace(':///', '://')} is an address" in refusal(Path(name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["loop", "loop.csv"])
def test_a_link_that_leads_to_itself(name: str, tmp_path: Path) -> None:
    """`locked` either refuses it, or leaves the error to the writer of the file."""
    (tmp_path / name).symlink_to(name)
    with suppress(OutputError), locked(tmp_path / name):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_pipe_is_no_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out")
    with pytest.raises(OutputError, match="out is not a folder"), locked(tmp_path / "out"):
        pass


@pytest.mark.parametrize("name", ["new/folder", "two.csv"])
def test_one_process_at_a_time(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    with holder(out) as other:
        message = refusal(out)
        assert str(out) in message
        assert f"process {other.pid} on " in message
        assert "\n" not in message
        with locked(tmp_path / "another"):
            pass
        other.communicate()
    assert list(tmp_path.iterdir()) == [], "neither a lock file nor a folder remains"
    with locked(out):
        pass


@pytest.mark.parametrize("name", ["folder", "two.csv"])
def test_a_killed_owner_is_taken_over(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    with holder(out) as other:
        other.kill()
        other.wait()
        assert [path.name for path in tmp_path.rglob(f"*{LOCK}")], "a killed process leaves its lock file"
        with locked(out):
            third = subprocess.run([sys.executable, "-c", HOLDING, str(out)], input="", capture_output=True, text=True)
            assert f"process {os.getpid()} on " in third.stderr
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize("name", ["folder", "two.csv"])
def test_a_lock_file_that_can_only_be_read(name: str, tmp_path: Path) -> None:
    """As another user's process creates it in a shared folder."""
    out = tmp_path / name
    with holder(out) as other, unprivileged():
        (lock,) = tmp_path.rglob(f"*{LOCK}")
        lock.chmod(0o444)
        assert f"process {other.pid} on " in refusal(out)
        other.kill()
        other.wait()
        lock.parent.chmod(0o555)
        assert f"cannot be written ({os.strerror(errno.EACCES)}" in refusal(out)
        lock.parent.chmod(0o755)
        with locked(out):
            assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not list(tmp_path.rglob(f"*{LOCK}"))


def test_the_same_folder_by_another_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with holder(tmp_path / "real") as other:
        message = refusal(tmp_path / "link")
        assert str(tmp_path / "link") in message
        assert f"process {other.pid} on " in message


def test_threads_of_one_process(tmp_path: Path) -> None:
    """The lock is reentrant in its thread and refused to other threads."""
    messages: list[str] = []
    with locked(tmp_path / "out"):
        with locked(tmp_path / "out"):
            pass
        for _ in range(2):
            thread = threading.Thread(target=lambda: messages.append(refusal(tmp_path / "out")))
            thread.start()
            thread.join()
    assert len(messages) == 2
    assert all(f"process {os.getpid()} on " in message for message in messages)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_it_ends_with_an_error(error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error), locked(tmp_path / "a/b"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_stays(tmp_path: Path) -> None:
    with locked(tmp_path / "a/b"):
        (tmp_path / "a/b/result").touch()
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["result"]
    with locked(tmp_path / "a/b"), locked(tmp_path / "v.csv"):
        names = {path.name for path in (*tmp_path.iterdir(), *(tmp_path / "a/b").iterdir())}
        assert {name for name in names if is_incidental(Path(name))} == {LOCK, f".v.csv{LOCK}"}


def test_many_at_once_never_two(tmp_path: Path) -> None:
    """Threads take and release the lock, which creates and deletes the lock file."""
    inside, most, done = 0, 0, 0
    counting = threading.Lock()

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(60):
            try:
                with locked(tmp_path / "out"):
                    with counting:
                        inside += 1
                        most = max(most, inside)
                    time.sleep(0.0005)
                    with counting:
                        inside -= 1
                        done += 1
            except OutputError:
                continue

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert done > 1
    assert not list(tmp_path.rglob(f"*{LOCK}"))


def test_a_forked_process_does_not_keep_it(tmp_path: Path) -> None:
    """Worker processes that read samples may outlive a killed command by seconds."""
    forking = """
import os, sys, time
from pathlib import Path
from gradmeter.locks import locked
with locked(Path(sys.argv[1])):
    if not os.fork():
        print(os.getpid(), flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", forking, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        try:
            with locked(tmp_path / "out"):
                os.kill(child, 0)  # the child still runs
        finally:
            os.kill(child, 9)


def written_elsewhere(out: Path, seconds_ago: float) -> None:
    """Write the lock file of an owner on another machine."""
    out.mkdir(exist_ok=True)
    content = {"pid": 77, "host": "other", "kernel": "another", "since": "2026-11-26 12:03"}
    (out / LOCK).write_text(json.dumps(content))
    modified = time.time() - seconds_ago
    os.utime(out / LOCK, (modified, modified))


def test_an_owner_on_another_machine(tmp_path: Path) -> None:
    """Its operating system lock may be invisible here, so the age of the lock file decides."""
    out = tmp_path / "out"
    written_elsewhere(out, 5)
    assert "process 77 on other since 2026-11-26 12:03" in refusal(out)
    assert (out / LOCK).exists()
    written_elsewhere(out, 3600)
    with locked(out):
        assert json.loads((out / LOCK).read_text())["pid"] == os.getpid()


def test_an_owner_from_the_future(tmp_path: Path) -> None:
    """Waiting would not help, for example after a machine whose clock was wrong lost its power."""
    out = tmp_path / "out"
    written_elsewhere(out, 5)
    assert refusal(out).endswith("; if it was killed, try again in 60 seconds")
    written_elsewhere(out, -3600)
    assert refusal(out).endswith(f"; if it was killed, delete {out / LOCK}")


def test_an_owner_renews_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_RENEWED_EVERY", 0.01)
    with locked(tmp_path / "out"):
        lock = tmp_path / "out" / LOCK
        os.utime(lock, (0, 0))
        deadline = time.monotonic() + 10
        while lock.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "out"):
        messages: list[str] = []
        thread = threading.Thread(target=lambda: messages.append(refusal(tmp_path / "out")))
        thread.start()
        thread.join()
        assert f"process {os.getpid()} on " in messages[0]
    with locked(tmp_path / "out"):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
def test_a_lock_file_that_says_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(content)
    with locked(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


def test_a_link_or_a_pipe_in_its_place(tmp_path: Path) -> None:
    """A lock file in a folder from elsewhere may be a link or a FIFO: it is not followed, written or waited for."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK).symlink_to(tmp_path / "mine")
    assert str(tmp_path / "out" / LOCK) in refusal(tmp_path / "out")
    assert (tmp_path / "mine").read_text() == "mine"
    (tmp_path / "out" / LOCK).unlink()
    os.mkfifo(tmp_path / "out" / LOCK)
    assert str(tmp_path / "out" / LOCK) in refusal(tmp_path / "out")
    assert (tmp_path / "out" / LOCK).exists()


def test_at_the_limit_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread can renew the lock."""

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="thread"), locked(tmp_path / "out"):
            pytest.fail("locked without a thread")
    assert list(tmp_path.iterdir()) == [], "neither a lock file nor a folder remains"
    with locked(tmp_path / "out"):
        pass


@pytest.mark.parametrize("name", ["new/folder", "two.csv"])
def test_a_full_disk(name: str, tmp_path: Path) -> None:
    """The lock file can be created, but not written."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        message = refusal(tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
    assert str(tmp_path) in message
    assert list(tmp_path.iterdir()) == [], "neither a lock file nor a folder remains"
    with locked(tmp_path / name):
        pass


@pytest.mark.parametrize("name", ["circle", "circle/out", "circle.csv/two.csv"])
def test_links_in_a_circle(name: str, tmp_path: Path) -> None:
    for circle in ("circle", "circle.csv"):
        (tmp_path / circle).symlink_to(circle)
    assert name in refusal(tmp_path / name)


def test_another_owners_file_is_left_alone(tmp_path: Path) -> None:
    """A user may delete a lock file by hand, and another process create a new one."""
    with locked(tmp_path):
        (tmp_path / LOCK).unlink()
        (tmp_path / LOCK).write_text("another's")
    assert (tmp_path / LOCK).read_text() == "another's"


@pytest.mark.parametrize(("name", "longest"), [("{}", 255), ("{}.csv", 255 - len(f".{LOCK}"))])
def test_a_name_that_is_too_long_for_what_is_written(name: str, longest: int, tmp_path: Path) -> None:
    """At once, and not when the result is written."""
    letters = "é" * ((longest - len(name) + 2) // 2)
    with locked(tmp_path / name.format(letters)):
        pass
    message = refusal(tmp_path / name.format(letters + "é"))
    assert letters in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert str(tmp_path / "file" / "out") in refusal(tmp_path / "file" / "out")


def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    with unprivileged():
        assert str(tmp_path / "out") in refusal(tmp_path / "out")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no file system here creates no files")
@pytest.mark.parametrize("name", ["judged.onnx", "folder"])
def test_a_file_system_that_creates_no_files(name: str) -> None:
    """It answers as if the folder had just been deleted; no other process is to blame."""
    message = refusal(Path("/proc") / name)
    assert f"/proc/{name}" in message
    assert os.strerror(errno.ENOENT) in message
    assert "another process" not in message


@pytest.mark.parametrize("name", ["judged.onnx", "folder/out"])
def test_a_folder_without_access(name: str, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with unprivileged():
        assert os.strerror(errno.EACCES) in refusal(tmp_path / "closed" / name)
