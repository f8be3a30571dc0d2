"""Every architecture against gradients of one sample at a time, in float64; the network must be restored."""

import subprocess
import sys

import pytest
import torch

from gradmeter import GradientMeter, Readings, UnsupportedModelError
from oracles.loop import call, chosen, converted, expected_readings
from oracles.moments import Array, assert_agree
from reading.architectures.case import Case
from reading.architectures.sharing import EXPERTS
from reading.architectures.state import mark, snapshot
from reading.architectures.table import CASES
from reading.architectures.wrapped import OWN_MATRIX

MARKS = {
    "torchvision resnet18": [pytest.mark.slow],
    **{
        f"torchvision {name}": [pytest.mark.slow, pytest.mark.exhaustive]
        for name in ("resnet50", "efficientnet_b0", "googlenet", "regnet_y_400mf")
    },
}
"""Of cases that take more than a second, or nearly so; most repeat what smaller networks show."""

EXACT = {"norms": 1e-9, "shapes": 1e-8}


def assert_readings(readings: Readings, expected: tuple[tuple[str, ...], Array], **tolerances: float) -> None:
    """Compare all layers; name them in the message of a failure."""
    layers, values = expected
    assert readings.layers == layers
    try:
        assert_agree(readings.values.cpu(), values, **tolerances)
    except AssertionError as error:
        error.add_note(f"of (sample, layer, metric); layers: {dict(enumerate(layers))}")
        raise


def check(case: Case, device: torch.device) -> None:
    model, inputs = case.build()
    expected = expected_readings(model, inputs)
    model, inputs = model.to(device), converted(inputs, lambda tensor: tensor.to(device))
    mark(model)
    before = snapshot(model)
    meter = GradientMeter(model)
    readings = meter(inputs)
    assert snapshot(model) == before
    assert meter.layers == readings.layers
    assert_readings(readings, expected, **EXACT)
    # reuse the plan of the first batch for more samples in another order
    rows = [1, 0, 1, 1, 0]
    again = meter(chosen(inputs, rows))
    assert_readings(again, (expected[0], expected[1][rows]), **EXACT)
    alone = GradientMeter(model)(chosen(inputs, [0]))
    assert_readings(alone, (expected[0], expected[1][:1]), **EXACT)
    torch.testing.assert_close(readings.logits, call(model.eval(), inputs).detach())


@pytest.mark.filterwarnings("ignore:`torch.nn.utils:FutureWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of torch.compile
@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in CASES])
def test_against_one_sample_at_a_time(name: str, device: torch.device) -> None:
    check(CASES[name], device)


# Too hard to require: either correct, or refused with an error of one line.
@pytest.mark.parametrize("case", [EXPERTS, OWN_MATRIX], ids=["experts", "own matrix"])
def test_right_or_refused(case: Case) -> None:
    model, inputs = case.build()
    layers, expected = expected_readings(model, inputs)
    mark(model)
    before = snapshot(model)
    meter = GradientMeter(model)
    for rows in ([0, 1], [1, 0, 0], list(range(len(expected)))):
        try:
            readings = meter(chosen(inputs, rows))
        except UnsupportedModelError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert_readings(readings, (layers, expected[rows]), **EXACT)
    assert snapshot(model) == before


GROUP_NORM_FIRST = """
import torch
from torch import nn
from gradmeter import GradientMeter

model = nn.Sequential(nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(60, 3))
nn.utils.parametrizations.weight_norm(model[0], dim=None)
assert GradientMeter(model)(torch.randn(2, 4, 3, 5)).values.isfinite().all()
"""


@pytest.mark.slow
def test_group_norm_with_a_computed_scale_comes_first() -> None:
    """PyTorch may crash in the backward pass of such a norm on channels-last images, so run it in another process."""
    subprocess.run([sys.executable, "-c", GROUP_NORM_FIRST], check=True)
