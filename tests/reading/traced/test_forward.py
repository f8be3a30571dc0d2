"""The traced forward pass shows what a meter without gradients reads."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter, UnsupportedModelError
from gradmeter.reading.traced import TracedForward


class Twice(nn.Module):
    """A layer that is called twice, on inputs of two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.dense = nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))[:, :, ::2, ::2]
        return self.dense(self.conv(x).flatten(1))


class Windows(nn.Module):
    """Windows of each image are folded into the batch, and positions come before the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.window, self.position, self.last = nn.Linear(6, 5), nn.Linear(20, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        windows = torch.tanh(self.window(x.reshape(-1, 6)))
        positions = self.position(windows.reshape(x.shape[0], -1, 20).transpose(0, 1))
        return self.last(positions.mean(0))


def flat() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(72, 8), nn.ReLU(), nn.Linear(8, 3))


def log_probabilities() -> nn.Module:
    return nn.Sequential(flat(), nn.LogSoftmax(1))


@pytest.mark.parametrize("make", [Twice, Windows, flat, log_probabilities])
@pytest.mark.parametrize("samples", [1, 7])
def test_readings(make: type[nn.Module], samples: int) -> None:
    torch.manual_seed(0)
    network = make().eval()
    inputs = torch.randn(samples + 3, 2, 6, 6)
    expected = GradientMeter(network, gradients=False, activations=True, embedding=True)(inputs)
    assert expected.activations is not None
    assert expected.embedding is not None
    layers = expected.activations.layers[::-1]
    traced = TracedForward(network, inputs[:3], layers, embedding=True)
    with torch.no_grad():
        given = traced(inputs[3:])
    torch.testing.assert_close(given.logits, expected.logits[3:])
    torch.testing.assert_close(given.embedding, expected.embedding[3:])
    np.testing.assert_allclose(given.activations.flip(1), expected.activations.values[3:], rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        alone = TracedForward(network, inputs[:3], (), embedding=False)(inputs[3:])
    assert alone.activations.shape == (samples, 0, 0)
    assert alone.embedding.shape == (samples, 0)


def test_a_network_that_is_read_otherwise() -> None:
    class Shared(nn.Module):
        """The output of the first layer is the same for all samples."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(x + self.first(torch.ones(1, 2))) * 2

    with pytest.raises(UnsupportedModelError, match="'first'"):
        TracedForward(Shared(), torch.randn(3, 2), ("first",), embedding=False)
    with pytest.raises(UnsupportedModelError, match="logits"):
        TracedForward(Shared(), torch.randn(3, 2), ("last",), embedding=True)
