"""--engine ray without a cluster, and with a cluster that requires a token."""

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.cli.commands import ENVIRONMENT
from apps.cli.commands import anew as gradmeter
from sources.samples.pictures import save

pytestmark = pytest.mark.slow

pytest.importorskip("ray", reason="the extra ray is not installed")

MODEL = """
import torch
from torch import nn
def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
"""
OPTIONS = ("measure", "mine:make", "data", "--image-size", "8", "--grey", "--no-labels", "--device", "cpu", "-o", "r")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MODEL)
    for number in range(5):
        save(tmp_path / f"data/{number}.png", 40 * number)
    (tmp_path / "data/4.png").write_bytes(b"no image")
    return tmp_path


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_one_line_where_nothing_answers(place: Path, port: int) -> None:
    for address in (f"127.0.0.1:{port}", "hello"):
        process = gradmeter(*OPTIONS, "--engine", "ray", cwd=place, env={**ENVIRONMENT, "RAY_ADDRESS": address})
        assert process.returncode == 2
        assert process.stderr.startswith(f"gradmeter: RAY_ADDRESS={address}: ")
        assert process.stderr.count("\n") == 1
    assert not (place / "r").exists()


@pytest.fixture
def started(tmp_path: Path, port: int) -> Iterator[dict[str, str]]:
    """Start a cluster on this machine, and return the environment to join it."""
    (tmp_path / "token").write_text("f" * 32)
    environment = {**ENVIRONMENT, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # paths of sockets must be short
        environment["RAY_TMPDIR"] = folder
        head = subprocess.Popen(
            [*command, f"--port={port}", "--include-dashboard=false"],
            env={**environment, "RAY_AUTH_MODE": "token", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert head.stdout is not None
        assert any("Ray runtime started" in line for line in head.stdout)
        yield {**environment, "RAY_ADDRESS": f"127.0.0.1:{port}"}
        head.terminate()
        head.communicate(timeout=60)


def test_a_cluster_that_asks_for_a_token(place: Path, started: dict[str, str]) -> None:
    command = (*OPTIONS, "--engine", "ray", "--workers", "1", "--json")
    refused = gradmeter(*command, cwd=place, env=started)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "RAY_AUTH_MODE=token" in refused.stderr
    process = gradmeter(*command, cwd=place, env={**started, "RAY_AUTH_MODE": "token"})
    assert process.returncode == 0, process.stderr
    assert process.stderr.startswith("skipped 4.png: ")
    assert process.stderr.count("\n") == 1
    assert json.loads(process.stdout)["measured"] == 4
