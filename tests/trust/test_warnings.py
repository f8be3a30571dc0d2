"""Warnings point to the line that called gradmeter, so that Python shows each such line its own."""

import warnings

import torch
from torch import nn

from gradmeter import GradientMeter, Trust, TrustModel
from gradmeter.errors import ProbabilitiesWarning, SlowLayerWarning


class Distances(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(3, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cdist(x, self.centres).softmax(dim=1)


def test_warnings_point_to_the_caller() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), Distances()).eval()
    data = [(torch.randn(240, 4), torch.arange(240) % 3)]
    meter = GradientMeter(network).for_trust_model()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trust = TrustModel(meter, reads="gradients").fit(data, synthetic=())
        trust.predict_proba(data[0][0])
        Trust(trust)(data[0][0])
    kinds = [warning.category for warning in caught]
    assert kinds.count(ProbabilitiesWarning) >= 3
    assert SlowLayerWarning in kinds
    assert {warning.filename for warning in caught} == {__file__}
