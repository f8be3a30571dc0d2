"""A server whose Ray is killed from outside, as the kernel does if memory runs out."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from apps.cli.commands import ENVIRONMENT
from apps.serving.small import PORT, serving_main
from forked import Forked

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow]

pytest.importorskip("ray.serve", reason="the extra serve is not installed")

OWN_RAY = {name: value for name, value in ENVIRONMENT.items() if name != "RAY_ADDRESS"}


def test_the_command_says_so_and_ends_with_all_processes(tmp_path: Path) -> None:
    with Forked(serving_main, [str(PORT + 60)], cwd=tmp_path, env=OWN_RAY) as server:
        until = time.monotonic() + 120
        while not server.output():
            assert server.poll() is None, server.output(1)
            assert time.monotonic() < until, server.output(1)
            time.sleep(0.05)
        processes = psutil.Process(server.pid).children(recursive=True)
        (raylet,) = [process for process in processes if process.name() == "raylet"]
        try:
            os.kill(raylet.pid, signal.SIGKILL)
            errors = server.communicate(timeout=60)[1]
            alive = psutil.wait_procs(processes, timeout=30)[1]
        finally:
            for process in processes:
                if process.is_running():
                    process.kill()
    assert server.returncode == 1
    assert errors.startswith("gradmeter: Ray was killed ")
    assert errors.count("\n") == 1
    # Process 1 of a container may not reap them.
    assert {process.status() for process in alive} <= {psutil.STATUS_ZOMBIE}
