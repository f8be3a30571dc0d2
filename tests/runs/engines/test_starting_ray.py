"""Where Ray does not start, one line says so."""

import os
import signal
import socket
import sys
from typing import Any

import pytest

from gradmeter.errors import GradmeterError
from gradmeter.runs.engines.ray import cluster, starts_here

ray = pytest.importorskip("ray", reason="the extra ray is not installed")


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
