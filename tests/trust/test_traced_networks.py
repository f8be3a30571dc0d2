"""TrustModels of networks that run no hooks, so that the outputs of their layers cannot be read."""

import warnings

import pytest
import torch
from torch import nn

from gradmeter import GradientMeter, TrustModel
from gradmeter.errors import GradmeterWarning

pytestmark = pytest.mark.usefixtures("quick_fits")

IMAGES = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(200) % 2


def test_that_unknown_inputs_are_recognised_worse_is_said() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    with pytest.warns(GradmeterWarning, match="outputs of the network's layers cannot be read"):
        TrustModel(GradientMeter(torch.jit.trace(network, IMAGES)), reads="forward").fit((IMAGES, LABELS))
    with warnings.catch_warnings():
        warnings.simplefilter("error", GradmeterWarning)
        TrustModel(GradientMeter(network), reads="forward").fit((IMAGES, LABELS))
