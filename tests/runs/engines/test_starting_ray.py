"""Where Ray does not start, one line says so."""

import atexit
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gradmeter.errors import GradmeterError
from gradmeter.runs.engines.node import Node
from gradmeter.runs.engines.ray import cluster, starts_here
from gradmeter.stages import Advance, show_stages

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

FORKING = """
import contextlib, os, threading
import gradmeter.apps.serving
import grpc

def call():
    while not done.is_set():
        with contextlib.suppress(grpc.RpcError), grpc.insecure_channel("127.0.0.1:1") as channel:
            channel.unary_unary("/service/method")(b"", timeout=1)

done = threading.Event()
for thread in (threads := [threading.Thread(target=call) for _ in range(2)]):
    thread.start()
for _ in range(100):
    if not (child := os.fork()):
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
done.set()
for thread in threads:
    thread.join()
"""


@pytest.fixture(autouse=True)
def no_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster is started here that could be asked for them."""
    monkeypatch.setattr(ray, "nodes", list)


def test_sigterm_has_its_usual_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's handler ends a command with 15. Ray itself is not started here; see tests/apps/cli/test_on_ray.py."""

    def start(**options: Any) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))

    stopped = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "shutdown", lambda: stopped.append(True))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, cluster():
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143
    assert stopped
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_does_not_interrupt_the_start_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would not close a connection that it is just creating, and the process would end with SIGSEGV."""
    started = []

    def start(**options: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        started.append(True)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", start)
    with pytest.raises(KeyboardInterrupt), cluster():
        pytest.fail("the block runs")
    assert started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_interrupt_the_end_of_ray(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes would stay for a minute, and it would print a traceback as this process ends."""
    stopped = []

    def stop() -> None:
        os.kill(os.getpid(), number)
        stopped.append(True)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: None)
    monkeypatch.setattr(ray, "shutdown", stop)
    before = signal.getsignal(number)
    with pytest.raises((KeyboardInterrupt, SystemExit)), cluster():
        os.kill(os.getpid(), number)
    assert stopped
    assert signal.getsignal(number) is before


def test_sighup_stops_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a handler the process ends at once, and agents of Ray stay for a while."""

    def hang_up() -> None:
        assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL  # it would end the tests
        os.kill(os.getpid(), signal.SIGHUP)

    stopped = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: None)
    monkeypatch.setattr(ray, "shutdown", lambda: stopped.append(True))
    with pytest.raises(SystemExit) as caught, cluster():
        hang_up()
    assert caught.value.code == 129
    assert stopped
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_sighup_stays_ignored_under_nohup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cluster():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_handler_of_ray_that_aborts_the_process_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's handler in C++ does so three seconds after SIGTERM, if Ray has not stopped by then."""
    aborted = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(
        ray, "init", lambda **options: signal.signal(signal.SIGTERM, lambda number, frame: aborted.append(number))
    )
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with pytest.raises(SystemExit) as caught, cluster():
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143
    assert not aborted


def test_sigterm_while_ray_starts_sets_off_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The alarm of Ray's handler would abort the process while Ray stops."""

    def start(**options: Any) -> None:
        signal.alarm(3)
        sys.exit(signal.SIGTERM)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", start)
    with pytest.raises(SystemExit) as caught, cluster():
        raise AssertionError("Ray did not start")
    assert caught.value.code == 143
    assert signal.alarm(0) == 0


def test_sigterm_has_its_usual_exit_code_where_ray_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ray.shutdown` would end a process whose parent is process 1 with exit code 1."""
    unregistered = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: None)
    monkeypatch.setattr(ray, "shutdown", lambda: os._exit(1))
    monkeypatch.setattr(Node, "is_alive", lambda node: False)
    monkeypatch.setattr(atexit, "unregister", unregistered.append)
    with pytest.raises(SystemExit) as caught, cluster():
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143
    assert unregistered == [ray.shutdown]


def test_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray then raises `Exception` itself."""

    def time_out(**options: Any) -> None:
        raise Exception("The current node timed out\nduring startup.\nThis could happen because ...")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", time_out)
    with pytest.raises(GradmeterError, match="timed out during startup") as caught, cluster():
        raise AssertionError("a cluster that did not start was used")
    assert "\n" not in str(caught.value)


def test_joining_a_cluster_shows_progress_but_nothing_of_ray(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A cluster that does not answer takes two minutes."""

    def start(**options: Any) -> None:
        os.write(2, b"of Ray")
        Console(stderr=True).print("of the progress")

    names = []

    @contextmanager
    def show(name: str, steps: int | None) -> Iterator[Advance]:
        names.append(name)
        yield lambda done: None

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as server, show_stages(show):
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with cluster():
            pass
    assert names == [f"joining the Ray cluster at {address}"]
    assert capfd.readouterr().err == "of the progress\n"


@pytest.mark.parametrize("address", ["hello", "127.0.0.1:{port}", "127.0.0.1:port", "[::1"])
def test_an_address_at_which_nothing_answers(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself would try for a quarter of an hour."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.format(port=free.getsockname()[1])
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        with pytest.raises(GradmeterError, match="RAY_AUTH_MODE=token") as caught, cluster():
            raise AssertionError("a cluster that does not answer was used")
    assert str(caught.value).startswith(f"RAY_ADDRESS={address}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "running", "expected"), [("", False, True), ("auto", False, False), ("", True, False)]
)
def test_whether_ray_starts_and_ends_with_this_process(
    address: str, running: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "is_initialized", lambda: running)
    assert starts_here() == expected


@pytest.mark.parametrize("imports", [True, False])
def test_processes_import_from_here_only_if_this_one_does(
    imports: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise Ray's own processes would import a queue.py of the user's in place of Python's, and not start."""
    given = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: given.append(os.environ["PYTHONPATH"].split(os.pathsep)))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*([""] if imports else []), *(path for path in sys.path if path)])
    with cluster():
        assert os.environ["PYTHONPATH"] == "elsewhere"
    assert given == [[str(tmp_path), "elsewhere"] if imports else ["elsewhere"]]


def test_a_folder_that_ray_cannot_write_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as ~/.ray, where Ray keeps its token, of a home folder that is read only."""

    def start(**options: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/home/me/.ray")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", start)
    with pytest.raises(GradmeterError, match=r"/home/me/\.ray: Permission denied"), cluster():
        pass


@pytest.mark.slow
def test_grpc_allows_a_fork_while_it_is_called() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    command = (sys.executable, "-c", FORKING)
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert (process.returncode, process.stderr) == (0, "")
