"""Worker processes: events arrive, errors are raised, and no worker outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from forked import Forked, fork_server
from gradmeter.errors import DataError
from gradmeter.runs.engines import processes, run_tasks
from gradmeter.runs.engines.processes import WorkerError
from runs.engines.work import killed, refuse_zero, sleep, square

pytestmark = pytest.mark.slow

TESTS = str(Path(__file__).parents[2])
_SLEEPING = """
import signal
from runs.engines.work import refuse_zero
from gradmeter.runs.engines.processes import run_tasks
try:
    run_tasks(refuse_zero, [600], 1, lambda pid: print(pid, flush=True))
except KeyboardInterrupt:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("interrupted", flush=True)
"""


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie, which its parent has not waited for, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids: list[int], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, pids))


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that start in milliseconds."""
    monkeypatch.setattr(processes, "get_context", lambda method: fork_server())


@contextmanager
def sleeping() -> Iterator[subprocess.Popen[str]]:
    """A process whose worker sleeps for ten minutes, in a process group of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", _SLEEPING],
        env=os.environ | {"PYTHONPATH": TESTS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        yield parent
        with suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)


@pytest.mark.usefixtures("forked_workers")
def test_tasks_run_in_single_threaded_workers_and_their_events_arrive(tmp_path: Path) -> None:
    events: list[object] = []
    run_tasks(square, [(tmp_path, number) for number in range(5)], 2, events.append)
    results = [(tmp_path / f"{number}.txt").read_text().split() for number in range(5)]
    assert [square for square, _, _ in results] == ["0", "1", "4", "9", "16"]
    workers = {int(pid) for _, pid, _ in results}
    assert 1 <= len(workers) <= 2
    assert os.getpid() not in workers
    assert {threads for _, _, threads in results} == {"1"}
    for number in range(5):
        assert [event for event in events if event[0] == number] == [(number, 0.5), (number, 1.0)]  # type: ignore[index]
    assert gone(list(workers))


def test_nothing_to_do() -> None:
    run_tasks(square, [], 2, pytest.fail)


@pytest.mark.usefixtures("forked_workers")
def test_an_error_is_raised_and_stops_the_other_workers() -> None:
    workers: list[int] = []
    started = time.monotonic()
    with pytest.raises(DataError, match=r"^no zero$"):
        run_tasks(refuse_zero, [600, 0], 2, workers.append)
    assert time.monotonic() - started < 60
    assert gone(workers)


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("while_writing", [False, True])
def test_a_killed_worker_is_a_worker_error(while_writing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_LAST_EVENTS", 60)
    events: list[object] = []
    started = time.monotonic()
    with pytest.raises(WorkerError):
        run_tasks(killed, [while_writing], 1, events.append)
    assert time.monotonic() - started < 30, "it waited for events of a dead worker"
    assert events == ["alive"]


def test_workers_end_when_their_parent_is_killed() -> None:
    with Forked(sleep, [], cwd=None, env=os.environ) as parent:
        until = time.monotonic() + 60
        while len(workers := [int(pid) for pid in parent.output().split()]) < 2:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert all(map(alive, workers))
        parent.kill()
        assert gone(workers)


def test_ctrl_c_stops_the_workers_in_the_middle_of_their_tasks() -> None:
    with sleeping() as parent:
        assert parent.stdout is not None
        workers = [int(parent.stdout.readline())]
        assert all(map(alive, workers))
        os.killpg(parent.pid, signal.SIGINT)  # to the workers too, as a terminal does
        assert parent.communicate(timeout=60)[0] == "interrupted\n"
        assert parent.returncode == 0
        assert gone(workers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_parent_ends_the_workers_without_a_message(number: signal.Signals) -> None:
    """Python would warn of semaphores that are left over."""
    with sleeping() as parent:
        assert parent.stdout is not None
        workers = [int(parent.stdout.readline())]
        parent.send_signal(number)
        assert parent.communicate(timeout=60) == ("", "")
        assert parent.returncode == 128 + number
        assert gone(workers)


def test_ctrl_c_while_the_workers_start_shows_no_traceback() -> None:
    with sleeping() as parent:
        while not (starting := [pid for pid in children(parent.pid) if "spawn_main" in command_line(pid)]):
            assert parent.poll() is None
            time.sleep(0.01)
        time.sleep(0.3)  # it runs Python, and imports modules
        for _ in range(3):  # an impatient user
            os.killpg(parent.pid, signal.SIGINT)
            time.sleep(0.1)
        out, err = parent.communicate(timeout=60)
        assert out.splitlines()[-1] == "interrupted"
        assert not err
        assert parent.returncode == 0
        assert gone(starting)


def children(pid: int) -> list[int]:
    """The ids of the processes that a process started."""
    return [
        int(stat.parent.name)
        for stat in Path("/proc").glob("[0-9]*/stat")
        if (text := read(stat)) and text.rpartition(")")[2].split()[1] == str(pid)
    ]


def command_line(pid: int) -> str:
    return read(Path(f"/proc/{pid}/cmdline"))


def read(path: Path) -> str:
    """The content of a file of a process; empty if it has ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
