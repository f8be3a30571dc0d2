"""Small segmentation networks, one for each kind of last layer and each way from there to the logits."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter import PixelReadings
from oracles.moments import Array, assert_agree
from oracles.networks import randomise, samples

IMAGES = samples(2, 3, 9, 11).float()
# Rounding errors of float32 in the network, relative to a statistic.
FLOAT32 = {"norms": 1e-5, "shapes": 1e-4}


class Segmenter(nn.Module):
    """A convolution, a norm, an activation in place, and a head."""

    def __init__(self, head: nn.Module, after: Callable[[Tensor], Tensor] = lambda logits: logits) -> None:
        super().__init__()
        self.body, self.norm = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.head, self.after = head, after

    def features(self, images: Tensor) -> Tensor:
        return F.relu(self.norm(self.body(images)), inplace=True)

    def forward(self, images: Tensor) -> Any:
        return self.after(self.head(self.features(images)))


def segmenter(head: nn.Module, after: Callable[[Tensor], Tensor] = lambda logits: logits, seed: int = 0) -> Segmenter:
    """A network in eval mode with random weights."""
    network = Segmenter(head, after)
    randomise(network, seed)
    return network.eval()


def assert_pixels(
    readings: PixelReadings, layer: str, expected: Array, *, norms: float = 1e-5, shapes: float = 1e-4
) -> None:
    """Compare the statistics of all pixels of a layer with those of an oracle, [pixels, 8]."""
    values = readings.values[:, readings.layers.index(layer)].permute(0, 2, 3, 1).flatten(0, 2)
    assert_agree(values.numpy(), expected, norms=norms, shapes=shapes)


def interpolated(**options: Any) -> Callable[[Tensor], Tensor]:
    """An interpolation with these options."""
    return lambda logits: F.interpolate(logits, **options)


def doubled(logits: Tensor) -> Tensor:
    """Logits in place, twice as large."""
    return logits.mul_(2)


def shifted(logits: Tensor) -> Tensor:
    """Logits plus a constant."""
    return logits + torch.arange(logits.shape[1]).reshape(-1, 1, 1).to(logits.dtype)
