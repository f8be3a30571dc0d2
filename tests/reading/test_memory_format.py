"""Networks that call `view` where only the default memory format of images allows it, as many tutorials do."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter, PixelMeter
from gradmeter.reading.traced.forward import TracedForward
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.preprocessing import ResizeAndNormalise, Stacked
from gradmeter.sources.samples import ImageKind


class Flattening(nn.Module):
    """A convolution, and a dense layer on its flattened outputs."""

    def __init__(self, flatten: Callable[[Tensor], Tensor], channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.dense = nn.Conv2d(channels, 4, 3), nn.Linear(4 * 36, 5)
        self.flatten, self.failed = flatten, 0
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        self.failed += 1
        flat = self.flatten(self.conv(images).relu())
        self.failed -= 1
        logits: Tensor = self.dense(flat)
        return logits


class FlatPixels(nn.Module):
    """A segmentation network that changes the shape of an output to and fro."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 1)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        output = self.first(images).relu()
        logits: Tensor = self.last(output.view(len(images), -1).view_as(output))
        return logits


def view(output: Tensor) -> Tensor:
    return output.view(-1, 4 * 36)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("gradients", [True, False])
def test_readings_are_those_of_a_network_that_reshapes(channels: int, gradients: bool) -> None:
    network, other = Flattening(view, channels), Flattening(lambda output: output.flatten(1), channels)
    images = torch.rand(9, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    meters = [
        GradientMeter(each, gradients=gradients, activations=True, probes=["mirror"]) for each in (network, other)
    ]
    readings, expected = (meter(images) for meter in meters)
    assert readings.layers == expected.layers
    assert network.failed == 1
    torch.testing.assert_close(readings.logits, expected.logits)
    for name in ("l1", "l2", "min", "max"):
        torch.testing.assert_close(
            torch.stack([readings[layer, name] for layer in readings.layers or ()] or [readings.log_scale]),
            torch.stack([expected[layer, name] for layer in expected.layers or ()] or [expected.log_scale]),
            rtol=1e-4,
            atol=1e-6,
        )
    torch.testing.assert_close(readings.scores["mirror"], expected.scores["mirror"])
    meters[0](images)
    assert network.failed == 1  # it is known by then


def test_the_network_of_a_classifier() -> None:
    network = Flattening(view)
    preprocessing = Stacked(ResizeAndNormalise(8, (0.5,) * 3, (0.5,) * 3))
    assert Classifier("mine", network, None, ImageKind("RGB", 8), preprocessing).outputs == 5


def test_a_network_that_is_traced() -> None:
    network = Flattening(view)
    images = torch.rand(3, 3, 8, 8)
    reader = TracedForward(network, images, ["conv", "dense"], embedding=True)
    torch.testing.assert_close(reader(images).logits, network(images))


def test_pixels() -> None:
    readings = PixelMeter(FlatPixels())(torch.rand(2, 3, 6, 6))
    assert np.isfinite(readings.logits.numpy()).all()


def test_a_view_that_no_memory_format_allows() -> None:
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        GradientMeter(Flattening(lambda output: output.transpose(2, 3).view(-1, 4 * 36)))(torch.rand(2, 3, 8, 8))
