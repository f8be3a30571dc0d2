"""Whether a Ray node is alive, with sockets in the place of Ray."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gradmeter.runs.engines import node as module
from gradmeter.runs.engines.node import Node


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the raylet's socket, short enough for the operating system."""
    monkeypatch.chdir(tmp_path)
    return Path("raylet")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GRACE", 0.01)


@pytest.fixture
def raylet(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(1)
        yield listening


@contextmanager
def node_at(path: Path) -> Iterator[Node]:
    nodes = [{"NodeID": "other", "RayletSocketName": "elsewhere"}, {"NodeID": "here", "RayletSocketName": str(path)}]
    ray: Any = SimpleNamespace(
        nodes=lambda: nodes, get_runtime_context=lambda: SimpleNamespace(get_node_id=lambda: "here")
    )
    with Node(ray) as node:
        yield node


def test_a_raylet_that_says_nothing_is_alive(raylet: socket.socket, path: Path) -> None:
    with node_at(path) as node:
        assert node.is_alive()


def test_a_raylet_that_accepts_no_more_connections_is_not_watched(raylet: socket.socket, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.connect(str(path))
        second.connect(str(path))
        with node_at(path) as node:
            assert node.is_alive()


def test_a_raylet_that_ended_before_it_was_watched(raylet: socket.socket, path: Path) -> None:
    raylet.close()
    with node_at(path) as node:
        assert not node.is_alive()


@pytest.mark.parametrize("removes", [False, True])
def test_a_raylet_that_ended_is_not_alive(removes: bool, raylet: socket.socket, path: Path) -> None:
    """One that is killed leaves its socket, one that is told to stop removes it."""
    with node_at(path) as node:
        raylet.close()
        if removes:
            path.unlink()
        assert not node.is_alive()


def test_a_raylet_on_another_machine_is_not_watched(path: Path) -> None:
    with node_at(path) as node:
        assert node.is_alive()


def test_the_death_of_the_node_is_noticed_while_the_block_waits(
    raylet: socket.socket, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_EVERY", 0.01)
    killed = threading.Event()
    with node_at(path) as node, node.watched(killed.set):
        assert not killed.wait(0.05)
        raylet.close()
        assert killed.wait(60)


def test_an_error_of_ray_does_not_hide_that_the_node_died(raylet: socket.socket, path: Path) -> None:
    killed = threading.Event()
    with pytest.raises(RuntimeError), node_at(path) as node, node.watched(killed.set):
        raise RuntimeError("not because of the node")
    assert not killed.is_set()
    raylet.close()
    with pytest.raises(RuntimeError), node_at(path) as node, node.watched(killed.set):
        raise RuntimeError("the actor died")
    assert killed.is_set()


def test_an_exit_stays_one_although_the_node_died(
    raylet: socket.socket, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Node, "is_alive", lambda node: False)
    killed = threading.Event()
    with pytest.raises(SystemExit), node_at(path) as node, node.watched(killed.set):
        raise SystemExit(143)
    assert not killed.is_set()
