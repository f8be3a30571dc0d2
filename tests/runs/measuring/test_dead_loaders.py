"""If a process that loads samples is killed, one line says so, wherever PyTorch notices it."""

import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gradmeter.runs.measuring.filling as filling
from gradmeter.runs.engines.processes import WorkerError
from gradmeter.runs.measuring import MeasuredSet, Work, measure, measure_synthetic
from gradmeter.runs.measuring.loading import explain_dead_workers, load_batches
from runs.measuring.deadly import Deadly
from runs.measuring.small import classifier


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "BATCH", 4)


class Waiting(nn.Module):
    """Lets the loading process die, and computes until it is dead."""

    def __init__(self, begin: Path) -> None:
        super().__init__()
        self.begin = begin

    def forward(self, inputs: Tensor) -> Tensor:
        self.begin.touch()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(0.01)  # PyTorch's signal handler raises its error here
        raise AssertionError("the process that loads samples lives")


def test_while_the_next_batch_is_awaited(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="the same command again"):
        measure(classifier(), Deadly(0), tmp_path / "r", Work(workers=1))
    assert MeasuredSet(tmp_path / "r").progress()[0] == 0


def test_while_the_network_computes(tmp_path: Path) -> None:
    """It is no error of the network."""
    begin = tmp_path / "begin"
    small = classifier()
    waiting = replace(small, network=nn.Sequential(Waiting(begin), small.network).eval())
    waiting.__dict__["trial"] = small.trial  # before the samples are loaded, the network does not wait
    with pytest.raises(WorkerError, match="the same command again"):
        measure(waiting, Deadly(5, begin), tmp_path / "r", Work(workers=1))
    assert begin.exists()


def test_while_images_for_synthetic_unknowns_are_loaded(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="the same command again"):
        measure_synthetic(classifier(), Deadly(3), range(40), tmp_path / "made.parquet", Work(workers=1))


def sizes(images: Sequence[Image.Image]) -> Tensor:
    return torch.tensor([image.size for image in images])


def test_where_no_signal_says_so(tmp_path: Path) -> None:
    """Neither in a thread nor with a fork server; the tensors of the next batch, already sent, are gone."""

    def load() -> None:
        others = active_children()
        batches = load_batches(Deadly(8, tmp_path / "begin"), sizes, [range(4), range(4, 8), range(8, 12)], 1)
        next(batches)
        (process,) = set(active_children()).difference(others)
        time.sleep(0.2)  # until the next batch is sent
        (tmp_path / "begin").touch()
        process.join()
        with explain_dead_workers():
            next(batches)

    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        with ThreadPoolExecutor() as pool, pytest.raises(WorkerError, match="the same command again"):
            pool.submit(load).result()
    finally:
        signal.signal(signal.SIGCHLD, handler)
