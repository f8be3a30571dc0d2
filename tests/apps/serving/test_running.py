"""Checks before the server starts."""

import os
import resource
import socket
from typing import Any

import pytest

pytest.importorskip("ray.serve", reason="the extra serve is not installed")

from ray.exceptions import RayError

from gradmeter.apps.serving import running
from gradmeter.errors import GradmeterError, InputError

NICENESS = "RAY_worker_niceness"
FEW, MANY, NO_LIMIT = 64, 4096, resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((FEW, MANY), (1024, MANY)),
        ((FEW, NO_LIMIT), (1024, NO_LIMIT)),
        ((MANY, MANY), None),
        ((NO_LIMIT, NO_LIMIT), None),
    ],
)
def test_a_low_limit_of_open_files_is_raised(
    limits: tuple[int, int], expected: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With too few open files, Ray hangs without a message."""
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda which, new: set_to.append(new))
    running._require_open_files()
    assert set_to == ([] if expected is None else [expected])


def test_answers_do_not_wait_for_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray starts its workers with the niceness in this variable, by default 15."""
    niceness: list[str | None] = []

    def cluster() -> Any:
        niceness.append(os.environ.get(NICENESS))
        raise InputError("no cluster in this test")

    monkeypatch.setattr(running, "cluster", cluster)
    monkeypatch.setattr(os, "environ", {**os.environ})
    with pytest.raises(InputError, match="no cluster"):
        running.serve(None, "127.0.0.1", 0, print, print)
    assert niceness == ["0"]


def test_where_it_cannot_be_raised_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (FEW, FEW))
    with pytest.raises(InputError, match=r"\b64\b.*1,024"):
        running._require_open_files()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def as_rays_proxy(port: int) -> socket.socket:
    listening = socket.socket()
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        listening.setsockopt(socket.SOL_SOCKET, option, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()
    return listening


def test_of_two_servers_that_start_at_the_same_time_one_gets_the_port() -> None:
    """Ray's proxies share a port, so that each server would receive half of the requests."""
    port = free_port()
    with running.reserved_port("127.0.0.1", port):
        for _ in range(2):
            with pytest.raises(InputError, match=str(port)), running.reserved_port("127.0.0.1", port):
                pass
        with as_rays_proxy(port) as proxy:
            for _ in range(5):  # all connections reach the proxy
                with socket.create_connection(("127.0.0.1", port), timeout=5):
                    proxy.accept()[0].close()
            with pytest.raises(InputError, match=str(port)):
                running.require_free_port("127.0.0.1", port)
    with as_rays_proxy(port), pytest.raises(InputError, match=str(port)):
        running.require_free_port("127.0.0.1", port)
    running.require_free_port("127.0.0.1", port)  # at once, although connections of the last server linger


@pytest.mark.parametrize(
    "host", ["", "..", "a" * 70, "ü" * 70, "\udcff", "*", "[::1]", "http://127.0.0.1", "256.1.1.1", "198.51.100.1"]
)
def test_addresses_that_no_server_can_listen_on(host: str) -> None:
    """The empty one would mean all addresses of the machine."""
    with pytest.raises(InputError, match="--host"):
        running.require_free_port(host, free_port())


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("::1", "http://[::1]:80"), ("localhost", "http://localhost:80")],
)
def test_the_address_that_is_shown(host: str, address: str) -> None:
    assert running.address_of(host, 80) == address


@pytest.mark.parametrize("error", [TimeoutError("too late"), RuntimeError("two\nlines"), RayError("died")])
def test_a_server_that_ray_does_not_start_is_reported_in_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(**options: Any) -> None:
        raise error

    monkeypatch.setattr(running.ray_serve, "start", start)
    with pytest.raises(GradmeterError, match=r"try again") as raised:
        running._started(None, "127.0.0.1", 80)
    assert "\n" not in str(raised.value)
