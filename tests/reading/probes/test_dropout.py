import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network import measuring
from gradmeter.reading.probes import mc_dropout
from oracles.networks import randomise, samples

X = samples(6, 5)


def network(dropout: nn.Module | None = None) -> nn.Module:
    thinned = dropout or nn.Dropout(0.4)
    return randomise(nn.Sequential(nn.Linear(5, 16), nn.Tanh(), thinned, nn.Linear(16, 3)).double()).eval()


def scores(model: nn.Module, probe: Any = "mc_dropout", **options: Any) -> tuple[Tensor, Tensor]:
    actual = GradientMeter(model, probes=[probe], **options)(X).scores
    assert [*actual] == ["mc_entropy", "mc_information"]
    return actual["mc_entropy"], actual["mc_information"]


def entropy(p: Tensor) -> Tensor:
    return -(p * p.log()).sum(-1)


def _answers(model: nn.Module, x: Tensor, passes: int, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return torch.stack([model(x).softmax(1) for _ in range(passes)])


@pytest.mark.parametrize(("passes", "seed"), [(8, 0), (1, 0), (50, 7)])
def test_against_a_loop(passes: int, seed: int) -> None:
    model = network()
    with torch.random.fork_rng(), torch.no_grad():
        model[2].train()  # type: ignore[index]
        # The random numbers of a sample are those that it would have alone.
        answers = torch.cat([_answers(model, row, passes, seed) for row in X.split(1)], dim=1)
        model.eval()
    actual, information = scores(model, mc_dropout(passes, seed))
    assert actual.dtype == information.dtype == torch.float64
    expected = entropy(answers.mean(0))
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(information, expected - entropy(answers).mean(0), rtol=1e-9, atol=1e-14)
    assert ((information > 1e-4) == (passes > 1)).all()


def test_bounds() -> None:
    actual, information = scores(network())
    assert (information >= 0).all()
    assert (information <= actual).all()
    assert (actual <= math.log(3)).all()


def test_the_same_again() -> None:
    first, second = scores(network()), scores(network(), mc_dropout())
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert not torch.allclose(first[0], scores(network(), mc_dropout(seed=1))[0])


@pytest.mark.parametrize("passes", [1, 7, 8])
@pytest.mark.parametrize("dropout", [nn.Identity(), nn.Dropout(0.0)])
def test_without_dropout_there_is_no_information(dropout: nn.Module, passes: int) -> None:
    """Not even rounding errors: a judge would learn from them."""
    model, x = network(dropout), samples(500, 5)
    actual = GradientMeter(model, probes=[mc_dropout(passes)])(x).scores
    expected = entropy(model(x).softmax(1)).detach()
    torch.testing.assert_close(actual["mc_entropy"], expected, rtol=1e-12, atol=1e-14)
    assert (actual["mc_information"] == 0).all()


class LibraryDropout(nn.Module):
    """A dropout layer as in other libraries."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.4, self.training)


class Thinning(nn.Dropout):
    """PyTorch's dropout under another name."""


@pytest.mark.parametrize(
    "dropout", [nn.AlphaDropout(0.4), nn.FeatureAlphaDropout(0.4), Thinning(0.4), LibraryDropout()]
)
def test_kinds_of_dropout(dropout: nn.Module) -> None:
    assert (scores(network(dropout))[1] > 1e-4).all()


class Encoder(nn.Module):
    """PyTorch runs an encoder layer in one fused operation without dropout if gradients are disabled."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layer(x).mean(1))
        return out


class Moved(nn.Module):
    """A network whose dropout layer has the samples elsewhere: time first, or in windows."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.first, self.dropout, self.last = kind, nn.Linear(4, 8), nn.Dropout(0.4), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.first(x).tanh()
        if self.kind == "keyword":
            out = self.dropout(input=out)
        elif self.kind == "windows":
            out = self.dropout(out.unflatten(1, (2, -1)).flatten(0, 1)).unflatten(0, (len(x), 2)).flatten(1, 2)
        else:
            out = self.dropout(out.transpose(0, 1)).transpose(0, 1)
        logits: Tensor = self.last(out.mean(1))
        return logits


NETWORKS = {
    "rows": (lambda: network(), (5,)),
    "AlphaDropout": (lambda: network(nn.AlphaDropout(0.4)), (5,)),
    "another library": (lambda: network(LibraryDropout()), (5,)),
    "channels": (
        lambda: nn.Sequential(nn.Conv2d(2, 8, 3), nn.Dropout2d(0.4, inplace=True), nn.Flatten(), nn.Linear(8, 3)),
        (2, 3, 3),
    ),
    "time first": (lambda: Moved("time"), (6, 4)),
    "one step": (lambda: Moved("time"), (1, 4)),
    "windows": (lambda: Moved("windows"), (6, 4)),
    "keyword": (lambda: Moved("keyword"), (6, 4)),
    "encoder": (Encoder, (5, 4)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_sample_has_the_same_scores_in_every_batch(name: str) -> None:
    make, shape = NETWORKS[name]
    meter = GradientMeter(randomise(make().double()).eval(), probes=["mc_dropout"])
    x = samples(6, *shape)
    x = torch.cat([x, x[:1]])
    together, reversed_, alone = meter(x), meter(x.flip(0)), [meter(row) for row in x.split(1)]
    for score in ("mc_entropy", "mc_information"):
        values = together.scores[score]
        assert values[0] == pytest.approx(values[6].item(), rel=1e-9)
        assert values[:6].unique().numel() == 6
        torch.testing.assert_close(reversed_.scores[score].flip(0), values, rtol=1e-9, atol=1e-13)
        torch.testing.assert_close(torch.cat([one.scores[score] for one in alone]), values, rtol=1e-9, atol=1e-13)


def test_the_network_is_left_as_it_was() -> None:
    model = network()
    model.train()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    training = [module.training for module in model.modules()]
    plain = GradientMeter(model)(X)
    assert torch.equal(GradientMeter(model, probes=["mc_dropout"])(X).values, plain.values)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == training
    model.eval()
    assert torch.equal(model(X), plain.logits)


def test_a_probe_itself_leaves_the_network_as_it_was() -> None:
    """Also if the network fails."""
    model, inputs = network(), Inputs.of(X)
    with measuring(model):
        state = torch.get_rng_state()
        actual = mc_dropout()(model, inputs, model(X))
        assert not any(score.requires_grad for score in actual.values())
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            mc_dropout()(model, Inputs.of(X[:, :4]), model(X))
        assert torch.equal(torch.get_rng_state(), state)
        assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("gradients", [True, False])
def test_dropout_of_an_encoder_layer(gradients: bool) -> None:
    model = randomise(Encoder().double()).eval()
    meter = GradientMeter(model, gradients=gradients, activations=True, probes=["mc_dropout"])
    readings = meter(samples(6, 5, 4))
    assert (readings.scores["mc_information"] > 1e-6).all()
    assert readings.activations is not None
    assert "layer.linear1" in readings.activations.layers
