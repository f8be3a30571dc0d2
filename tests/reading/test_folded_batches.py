"""Networks that fold their batch are read the same whatever the samples of the first batch are."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter

POSITIONS, WIDTH = 4, 3


class Folding(nn.Module):
    """Applies a layer to samples [N, positions, width] whose batch it folds in one of six ways."""

    def __init__(self, way: int) -> None:
        super().__init__()
        self.way = way
        self.inner = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU())

    def forward(self, x: Tensor) -> Any:
        n = len(x)
        if self.way == 0:
            return self.inner(x.transpose(0, 1)).transpose(0, 1)
        if self.way == 1:
            return self.inner(x.reshape(-1, WIDTH)).view_as(x)
        if self.way == 2:
            return self.inner(x.transpose(0, 1).reshape(-1, WIDTH)).view(POSITIONS, n, WIDTH).transpose(0, 1)
        if self.way == 3:
            windows = x.view(n, 2, 2, WIDTH).transpose(1, 2).reshape(n * 2, 2, WIDTH)
            return self.inner(windows).view(n, 2, 2, WIDTH).transpose(1, 2).reshape(x.shape)
        if self.way == 4:
            return torch.cat(self.inner(torch.cat(x.chunk(2, 1))).chunk(2), 1)
        forwards, backwards = self.inner(torch.cat([x, x.flip(1)])).chunk(2)
        return forwards + backwards


class Network(nn.Module):
    def __init__(self, *ways: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Folding(way) for way in ways)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Any:
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean(1))


def odd_batch(rng: random.Random) -> Tensor:
    """Samples of very different sizes, blank ones and copies."""
    x = torch.randn(rng.choice([2, 3, 4, 7]), POSITIONS, WIDTH, dtype=torch.float64)
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda sample: sample * 0,
        lambda sample: sample * 1e4,
        lambda sample: sample * 1e-4,
        lambda sample: x[0],
        lambda sample: sample,
    ]
    for row in range(len(x)):
        x[row] = rng.choice(changes)(x[row])
    return x


@pytest.mark.parametrize("seed", range(60))
def test_the_first_batch_does_not_matter(seed: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    network = Network(*(rng.randrange(6) for _ in range(2))).double().eval()
    after = torch.randn(5, POSITIONS, WIDTH, dtype=torch.float64)
    first, usual = (GradientMeter(network).for_trust_model(gradients=True) for _ in range(2))
    batch = odd_batch(rng)
    expected = usual(after), usual(batch)
    # In this order: the first batch of one meter is the second of the other.
    for actual, other in zip((first(batch), first(after)), reversed(expected), strict=True):
        torch.testing.assert_close(actual.values[..., :3], other.values[..., :3])
        assert actual.activations is not None
        assert other.activations is not None
        assert actual.activations.layers == other.activations.layers
        torch.testing.assert_close(actual.activations.values[..., :3], other.activations.values[..., :3])
