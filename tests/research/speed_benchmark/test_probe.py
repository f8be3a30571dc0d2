import pytest
import torch

from gradmeter.reading.meter import GradientMeter
from gradmeter.research.speed_benchmark.methods import METHODS
from gradmeter.research.speed_benchmark.probe import exact_norms, probe
from gradmeter.research.speed_benchmark.scaling import stream
from research.speed_benchmark.tiny import TINY


def test_norms_and_memory() -> None:
    network, inputs = TINY.build()
    measured = probe(TINY, METHODS["gradmeter"], 1)
    assert measured.norms == pytest.approx(GradientMeter(network)(inputs)["all", "l2"].tolist())
    assert 0 <= measured.memory < 2**26
    assert 0 < measured.seconds < 10
    assert probe(TINY, METHODS["plain"], 1).norms is None


def test_exact_norms() -> None:
    network, inputs = TINY.build()
    assert exact_norms(TINY, 1) == pytest.approx(GradientMeter(network.double())(inputs.double())["all", "l2"].tolist())


def test_a_stream_measures_every_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def count(self: GradientMeter, inputs: torch.Tensor) -> None:
        sizes.append(len(inputs))

    monkeypatch.setattr(GradientMeter, "__call__", count)
    measured = stream(TINY, 12, 1)
    assert sizes == [5, 5, 5, 2], "a batch to warm up, then 12 images"
    assert 0 < measured.seconds < 1
