"""Names of version 0.1 that still work, and warn."""

import pytest
import torch
from torch import nn

from gradmeter import GradientMeter

METER = GradientMeter(nn.Linear(3, 2).eval(), ["predicted", "uniform"])


def test_readings_under() -> None:
    readings = METER(torch.rand(4, 3))
    with pytest.warns(DeprecationWarning, match="for_pseudo_label"):
        old = readings.under("uniform")
    assert torch.equal(old.values, readings.for_pseudo_label("uniform").values)


def test_meter_extended() -> None:
    with pytest.warns(DeprecationWarning, match="for_trust_model"):
        old = METER.extended()
    assert old.activations
    assert old.embedding
    # A meter that already measures all of that is returned unchanged.
    assert old.for_trust_model() is old
