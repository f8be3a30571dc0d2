"""One writer per output, whatever becomes of it."""

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

from gradmeter import OutputError, locks
from gradmeter.files import LOCK, is_temporary
from gradmeter.locks import owned

# Owns an output until its standard input ends.
HOLDING = """
import sys
from pathlib import Path
from gradmeter.locks import owned
with owned(Path(sys.argv[1])):
    print("owned", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(out: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that owns an output."""
    command = [sys.executable, "-c", HOLDING, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        try:
            yield process
        finally:
            process.kill()


def refused(out: Path) -> str:
    with pytest.raises(OutputError) as caught, owned(out):
        pytest.fail("owned twice")
    return str(caught.value)


@pytest.mark.parametrize("name", ["loop", "loop.csv"])
def test_a_link_that_leads_to_itself(name: str, tmp_path: Path) -> None:
    """There is nothing to write to, or else the writer of the file says so."""
    (tmp_path / name).symlink_to(name)
    with suppress(OutputError), owned(tmp_path / name):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["new/folder", "two.csv"])
def test_one_process_at_a_time(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    with holder(out) as other:
        said = refused(out)
        assert f"{out} is being written by process {other.pid} on " in said
        assert "\n" not in said
        with owned(tmp_path / "another"):
            pass
        other.communicate()
    assert list(tmp_path.iterdir()) == [], "neither a lock file nor a folder remains"
    with owned(out):
        pass


@pytest.mark.parametrize("name", ["folder", "two.csv"])
def test_a_killed_owner_is_taken_over(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    with holder(out) as other:
        other.kill()
        other.wait()
        assert [path.name for path in tmp_path.rglob(f"*{LOCK}")], "it had no time to tidy up"
        with owned(out):
            refused_by = subprocess.run(
                [sys.executable, "-c", HOLDING, str(out)], input="", capture_output=True, text=True
            )
            assert f"process {os.getpid()} on " in refused_by.stderr
    assert not list(tmp_path.rglob("*.lock"))


def test_the_same_folder_by_another_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with holder(tmp_path / "real"):
        assert "link is being written by process" in refused(tmp_path / "link")


def test_threads_of_one_process(tmp_path: Path) -> None:
    """One owns; what it calls owns again; the others are refused."""
    said: list[str] = []
    with owned(tmp_path / "out"):
        with owned(tmp_path / "out"):
            pass
        for _ in range(2):
            thread = threading.Thread(target=lambda: said.append(refused(tmp_path / "out")))
            thread.start()
            thread.join()
    assert len(said) == 2
    assert all(f"process {os.getpid()} on " in one for one in said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_it_ends_with_an_error(error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error), owned(tmp_path / "a/b"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_stays(tmp_path: Path) -> None:
    with owned(tmp_path / "a/b"):
        (tmp_path / "a/b/result").touch()
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["result"]
    with owned(tmp_path / "a/b"), owned(tmp_path / "v.csv"):
        names = {path.name for path in (*tmp_path.iterdir(), *(tmp_path / "a/b").iterdir())}
        assert {name for name in names if is_temporary(Path(name))} == {LOCK, f".v.csv{LOCK}"}


def test_many_at_once_never_two(tmp_path: Path) -> None:
    """Owners come and go, and the lock file with them."""
    inside, most, done = 0, 0, 0
    counting = threading.Lock()

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(60):
            try:
                with owned(tmp_path / "out"):
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
    assert done > 10
    assert not list(tmp_path.rglob(f"*{LOCK}"))


def test_a_forked_process_does_not_keep_it(tmp_path: Path) -> None:
    """As processes that read samples do, which outlive a killed command by seconds."""
    forking = """
import os, sys, time
from pathlib import Path
from gradmeter.locks import owned
with owned(Path(sys.argv[1])):
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
            with owned(tmp_path / "out"):
                os.kill(child, 0)  # it lives
        finally:
            os.kill(child, 9)


def written_elsewhere(out: Path, seconds_ago: float) -> None:
    """The lock file of an owner on another machine."""
    out.mkdir(exist_ok=True)
    content = {"pid": 77, "host": "other", "kernel": "another", "since": "2026-11-26 12:03"}
    (out / LOCK).write_text(json.dumps(content))
    then = time.time() - seconds_ago
    os.utime(out / LOCK, (then, then))


def test_an_owner_on_another_machine(tmp_path: Path) -> None:
    """Its lock may not be seen from here; it renews its file."""
    out = tmp_path / "out"
    written_elsewhere(out, 5)
    assert "process 77 on other since 2026-11-26 12:03" in refused(out)
    assert (out / LOCK).exists()
    written_elsewhere(out, 3600)
    with owned(out):
        assert json.loads((out / LOCK).read_text())["pid"] == os.getpid()


def test_an_owner_renews_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_RENEWED_EVERY", 0.01)
    with owned(tmp_path / "out"):
        lock = tmp_path / "out" / LOCK
        os.utime(lock, (0, 0))
        until = time.monotonic() + 10
        while lock.stat().st_mtime == 0:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with owned(tmp_path / "out"):
        said: list[str] = []
        thread = threading.Thread(target=lambda: said.append(refused(tmp_path / "out")))
        thread.start()
        thread.join()
        assert f"process {os.getpid()} on " in said[0]
    with owned(tmp_path / "out"):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
def test_a_lock_file_that_says_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(content)
    with owned(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


def test_a_link_or_a_pipe_in_its_place(tmp_path: Path) -> None:
    """What a folder from elsewhere holds is not followed, written or waited for."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK).symlink_to(tmp_path / "mine")
    assert "cannot be written" in refused(tmp_path / "out")
    assert (tmp_path / "mine").read_text() == "mine"
    (tmp_path / "out" / LOCK).unlink()
    os.mkfifo(tmp_path / "out" / LOCK)
    assert "is no file" in refused(tmp_path / "out")
    assert (tmp_path / "out" / LOCK).exists()


@pytest.mark.parametrize("name", ["new/folder", "two.csv"])
def test_a_full_disk(name: str, tmp_path: Path) -> None:
    """The lock file can be made, and nothing can be written into it."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        message = refused(tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
    assert str(tmp_path) in message
    assert list(tmp_path.iterdir()) == [], "neither a lock file nor a folder remains"
    with owned(tmp_path / name):
        pass


@pytest.mark.parametrize("name", ["circle", "circle/out", "circle.csv/two.csv"])
def test_links_in_a_circle(name: str, tmp_path: Path) -> None:
    for circle in ("circle", "circle.csv"):
        (tmp_path / circle).symlink_to(circle)
    assert name in refused(tmp_path / name)


def test_another_owners_file_is_left_alone(tmp_path: Path) -> None:
    """As after somebody removed a lock file by hand."""
    with owned(tmp_path):
        (tmp_path / LOCK).unlink()
        (tmp_path / LOCK).write_text("another's")
    assert (tmp_path / LOCK).read_text() == "another's"


def test_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "cannot be made" in refused(tmp_path / "file" / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    assert "cannot be written" in refused(tmp_path / "out")
