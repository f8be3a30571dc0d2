"""--engine ray without a cluster, and with a cluster that requires a token."""

import signal
import time
from importlib import import_module
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from apps.cli.commands import ENVIRONMENT, gradmeter, in_this_process, small_parts_main
from forked import Forked
from gradmeter.runs.measuring import MeasuredSet, on_ray
from sources.samples.pictures import save

# Ray leaves files open, and forks while threads run.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

pytest.importorskip("ray", reason="the extra ray is not installed")

COUNT, PARTS = 40, 5
# A network that takes a while for each batch.
MODEL = """
import time, torch
from torch import nn
class Slow(nn.Flatten):
    def forward(self, x):
        time.sleep(0.2)
        return super().forward(x)
def make():
    torch.manual_seed(0)
    return nn.Sequential(Slow(), nn.Linear(64, 3))
"""
MEASURE = ("measure", "slow_network:make", "data", "--image-size", "8", "--grey", "--no-labels", "-o", "r")
ON_RAY = (*MEASURE, "--device", "cpu", "--engine", "ray", "--workers", "1")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "slow_network.py").write_text(MODEL)
    for number in range(COUNT):
        save(tmp_path / f"data/{number:02}.png", 6 * number)
    (tmp_path / "data/04.png").write_bytes(b"no image")
    return tmp_path


def test_one_line_where_no_cluster_can_be_joined(place: Path, cluster: dict[str, str]) -> None:
    """Addresses at which nothing answers are tested in tests/runs/engines/test_starting_ray.py."""
    process = gradmeter(*ON_RAY, cwd=place, env={**ENVIRONMENT, **cluster, "RAY_AUTH_MODE": "disabled"})
    assert process.returncode == 2
    assert process.stderr.startswith(f"gradmeter: RAY_ADDRESS={cluster['RAY_ADDRESS']}: ")
    assert "RAY_AUTH_MODE=token" in process.stderr
    assert process.stderr.count("\n") == 1


@pytest.mark.exhaustive
def test_a_run_whose_driver_is_killed_can_be_continued(
    place: Path, cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By this process, which has joined the cluster already."""
    measured, environment = MeasuredSet(place / "r"), {**ENVIRONMENT, **cluster}
    for parts, blow, code in ((1, signal.SIGKILL, -signal.SIGKILL), (2, signal.SIGTERM, 143)):
        with Forked(small_parts_main, ON_RAY, cwd=place, env=environment) as driver:
            until = time.monotonic() + 120
            while sum(measured.note(part) is not None for part in range(PARTS)) < parts:
                assert time.monotonic() < until
                assert driver.poll() is None, driver.communicate()[1]
                time.sleep(0.05)
            driver.send_signal(blow)
            errors = driver.communicate()[1]
            assert "Traceback" not in errors
            assert "SIGTERM" not in errors  # Ray's handler in C++ shows a stack trace
            assert driver.poll() == code
    assert 0 < measured.progress()[0] < COUNT
    from ray import cloudpickle

    monkeypatch.setattr(on_ray, "PART", 8)
    monkeypatch.syspath_prepend(place)
    cloudpickle.register_pickle_by_value(import_module("slow_network"))  # workers of this process cannot import it
    finished = in_this_process(*ON_RAY, cwd=place)
    assert finished.returncode == 0, finished.stderr
    before, *skipped = finished.stderr.splitlines()
    assert f" of {COUNT} samples" in before
    assert all(line.startswith("skipped 04.png: ") for line in skipped)
    assert finished.stdout.startswith(f"Measured {COUNT - 1} samples, skipped 1.")
    assert pq.read_table(place / "r")["id"].to_pylist() == [f"{n:02}.png" for n in range(COUNT) if n != 4]
