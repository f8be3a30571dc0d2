"""Networks that sort the samples of a batch: layers whose outputs are in another order are never taken for others."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter
from gradmeter.errors import GradmeterWarning


class Sorting(nn.Module):
    """Sorts the samples [N, 5] by their first number, as if it were a length, and puts the logits back in order."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.inner, self.head = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        order = x[:, 0].argsort(descending=True, stable=True)
        hidden: Tensor = self.inner(self.before(x).tanh()[order])
        out: Tensor = self.head(hidden.tanh()[order.argsort()])
        return out


@pytest.fixture
def network() -> Sorting:
    torch.manual_seed(0)
    return Sorting().double().eval()


def batch(*lengths: int) -> Tensor:
    x = torch.randn(len(lengths), 5, dtype=torch.float64)
    x[:, 0] = torch.tensor(lengths)
    return x


BATCHES = {
    "in order": (9, 8, 7, 6),
    "reversed": (1, 2, 3, 4, 5),
    "the last stays": (3, 4, 1),
    "two": (3, 4),
    "equal at first": (*[5] * 20, *[6] * 12),
}


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("name", BATCHES)
def test_layers_in_another_order_are_left_out(network: Sorting, name: str, gradients: bool) -> None:
    meter = GradientMeter(network, gradients=gradients, activations=True)
    x = batch(*BATCHES[name])
    for part in (x, batch(*range(12)), x.flip(0)):
        activations = meter(part).activations
        assert activations is not None
        assert activations.layers == ("before", "head")
        alone = torch.cat([GradientMeter(network, activations=True)(row[None]).activations.values for row in part])
        assert torch.allclose(activations.values, alone[:, [0, 2]], atol=1e-9)


def test_a_layer_that_was_read_before_is_read_sample_by_sample(network: Sorting) -> None:
    """A sample alone says nothing about the order."""
    meter = GradientMeter(network, gradients=False, activations=True)
    x = batch(1, 3, 2, 5, 4)
    alone = [meter(row[None]).activations for row in x]
    with pytest.warns(GradmeterWarning, match="inner"):
        together = meter(x).activations
    assert together.layers == alone[0].layers == ("before", "inner", "head")
    assert torch.allclose(together.values, torch.cat([part.values for part in alone]), atol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        meter(x[:1])


class Routing(nn.Module):
    """Sends each token [N, 4, 5] to one of two experts, by index."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate, self.head = nn.Linear(5, 6), nn.Linear(6, 2), nn.Linear(6, 3)
        self.experts = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(0, 1)
        chosen, out = self.gate(tokens).argmax(1), torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero()[:, 0]
            out = out.index_add(0, rows, expert(tokens[rows]))
        logits: Tensor = self.head(out.unflatten(0, x.shape[:2]).mean(1))
        return logits


@pytest.mark.parametrize("seed", range(20))
def test_a_first_batch_of_blank_samples(seed: int) -> None:
    """All their tokens go to one expert, as if it were a layer for all."""
    torch.manual_seed(seed)
    network = Routing().double().eval()
    meter = GradientMeter(network, gradients=False, activations=True)
    meter(torch.zeros(3, 4, 5, dtype=torch.float64))
    x = torch.randn(9, 4, 5, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GradmeterWarning)
        together = meter(x).activations
        alone = torch.cat([meter(row[None]).activations.values for row in x])
    assert torch.allclose(together.values, alone, atol=1e-9)
