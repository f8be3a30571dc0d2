"""Networks that call other layers for other inputs: which layers are read must not depend on the first input."""

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter, InputError, TrustModel
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


class _Typed(nn.Module):
    """Adds the embedding of a type that all tokens have, whose output is no feature because it never varies."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.types = nn.Embedding(50, 8), nn.Embedding(2, 8)
        self.inner, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.types(torch.zeros_like(tokens))
        return self.head(self.inner(x).tanh().mean(1))  # type: ignore[no-any-return]


def test_a_loaded_model_recognises_readings_of_fit_although_a_layer_gives_no_feature(tmp_path: Path) -> None:
    network = randomise(_Typed().double())
    tokens = torch.randint(0, 50, (200, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = network(tokens).argmax(1)
    labels[::5] = (labels[::5] + 1) % 3
    meter = GradientMeter(network).for_trust_model(gradients=False)
    trust = TrustModel(meter, reads="forward").fit((meter(tokens), labels))
    trust.save(tmp_path)
    loaded = TrustModel.load(tmp_path, network)
    assert loaded.meter.output_layers == trust.meter.output_layers
    with pytest.raises(InputError, match="fit has seen 200 of these 200 inputs"):
        loaded.set_risk(0.5, (tokens, labels))
