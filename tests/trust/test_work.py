"""The fixed work of a verdict on one image, counted in calls of Python functions: seconds depend on the machine."""

import sys
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Any

import pytest
import torch
from torch import nn

from gradmeter import GradientMeter, TrustModel
from gradmeter.reading.kernels import compiled
from trust.trained import digits, loader, trained


def packages_called(call: Callable[[], object]) -> list[str]:
    """Return the package of every Python function that is called."""
    packages: list[str] = []

    def count(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            packages.append(str(frame.f_globals.get("__name__")).partition(".")[0])

    call()
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(before)
    return packages


@cache
def fitted() -> TrustModel:
    return TrustModel(GradientMeter(trained()), reads="forward").fit(loader(300, 900))


@pytest.mark.slow
def test_features_and_heads_of_one_image() -> None:
    readings = fitted().meter(digits()[0][:1])
    packages = packages_called(lambda: fitted().predict_proba(readings))
    # The input checks of scikit-learn and SciPy took nine tenths of 2,500 calls.
    assert not {"sklearn", "scipy"} & {*packages}
    assert len(packages) < 300


def test_a_verdict_on_one_image() -> None:
    image = digits()[0][:1]
    # 748 with Python 3.11 and torch 2.13; others may make a few more.
    assert len(packages_called(lambda: fitted().predict_proba(image))) < 800


def convolutional(layers: int) -> nn.Module:
    """Return a network with as many convolutions, each with a BatchNorm."""
    blocks = [m for _ in range(layers) for m in (nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(256, 3)).eval()


@pytest.mark.skipif(not compiled.available(), reason="the sums in PyTorch take more calls")
@pytest.mark.parametrize(("gradients", "most"), [(False, 80), (True, 530)])
def test_a_further_layer(gradients: bool, most: int) -> None:
    """Reading a convolution and its BatchNorm, with gradients for two pseudo-labels, takes a few hundred calls."""
    image = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    counts = []
    for layers in (5, 15):
        meter = GradientMeter(convolutional(layers)).for_trust_model(gradients=gradients)
        meter(image)
        counts.append(len(packages_called(lambda meter=meter: meter(image))))  # type: ignore[misc]
    assert (counts[1] - counts[0]) / 10 < most
