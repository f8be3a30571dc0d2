"""Networks that call other layers for other inputs: which layers are read must not depend on the first input."""

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter, TrustModel
from oracles.networks import randomise, samples


class _Deeper(nn.Module):
    """Calls a further layer for larger inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.further, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).tanh()
        if x.shape[1] > 2:
            y = self.further(y).tanh()
        return self.head(y.sum(1))  # type: ignore[no-any-return]


@pytest.mark.slow
def test_the_first_input_does_not_decide_what_is_read(tmp_path: Path) -> None:
    network = randomise(_Deeper().double())
    large, small = samples(200, 3, 4), samples(200, 2, 4)
    with torch.no_grad():
        parts = [(x, network(x).argmax(1)) for x in (large, small)]
    for _, labels in parts:
        labels[::5] = (labels[::5] + 1) % 3
    for known, unknown in (parts, parts[::-1]):
        trust = TrustModel(GradientMeter(network), reads="forward").fit([known], [unknown[0]])
        expected = [trust.predict_proba(x) for x in (large, small)]
        trust.save(tmp_path)
        for copy in (TrustModel.load(tmp_path, network), pickle.loads(pickle.dumps(trust))):
            actual = [copy.predict_proba(x) for x in (small[:1], large, small)]
            torch.testing.assert_close(actual[1:], expected)
