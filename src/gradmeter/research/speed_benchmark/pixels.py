"""The compared ways to read every pixel of a segmentation network's last layer, and the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter.reading.pixels import PixelMeter
from gradmeter.research.speed_benchmark.methods import Method, Prepared
from gradmeter.research.speed_benchmark.models import Model

LAYER = "classifier.4"
"""The last layer, a 1 x 1 convolution whose output is upsampled by 16."""

LAYERS = (LAYER, "classifier.2", "classifier.1")
"""The last layer, and the BatchNorm and the 3 x 3 convolution before it."""

REFERENCE = "forward"
"""The method that times and memory are divided by."""

_LOOP_PIXELS = 20
# The norms of Maag and Riedlinger (2023).
_POWERS = (0.1, 0.3, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class PixelMethod(Method):
    """A way to read pixels.

    Attributes:
        pixels: number of pixels that a run reads; None for all. The time for all is extrapolated.
    """

    pixels: int | None = None


def _network() -> nn.Module:
    from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

    network: nn.Module = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None)
    return network


MODEL = Model("DeepLabV3 with MobileNetV3-large", _network, (3, 240, 320), 4, distribution="torchvision")
"""The network that all methods read, with a batch of images."""

SMALL = Model("two images of 120 x 160", _network, (3, 120, 160), 2, distribution="torchvision")
"""The same network with the images on which further layers are read."""


def _forward(network: nn.Module, inputs: Tensor) -> Prepared:
    def run(batch: Tensor) -> None:
        with torch.no_grad():
            network(batch)

    return Prepared(run)


def _forward_channels_last(network: nn.Module, inputs: Tensor) -> Prepared:
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(batch: Tensor) -> None:
        with torch.no_grad():
            network(batch.contiguous(memory_format=torch.channels_last))

    return Prepared(run)


def _gradmeter(network: nn.Module, inputs: Tensor) -> Prepared:
    meter = PixelMeter(network)
    return Prepared(lambda batch: meter(batch)[LAYER, "l2"])


def _closed_form(network: nn.Module, inputs: Tensor) -> Prepared:
    """The norms of the outer product (p - e) phi', with phi interpolated for every pixel."""

    def run(batch: Tensor) -> Tensor:
        with torch.no_grad(), _last_layer(network) as kept:
            logits = network(batch)["out"]
            phi = F.interpolate(kept[0], size=logits.shape[2:], mode="bilinear")
            start = logits.softmax(1).scatter_add_(1, logits.argmax(1, keepdim=True), -torch.ones_like(logits[:, :1]))
            # The bias is the weight of an input that is constantly 1.
            start.abs().sum(1).mul_(phi.abs().sum(1).add_(1))
            l2: Tensor = (start.square().sum(1) * phi.square().sum(1).add_(1)).sqrt_()
            return l2

    return Prepared(run)


def _pgn(network: nn.Module, inputs: Tensor) -> Prepared:
    """What the code of Maag and Riedlinger computes for the last layer.

    The norms belong to the positions of the layer's own output, and are interpolated; the entry of the predicted class,
    p - 1, is left out; a uniform label scales p by (C - 1) / C; the bias is left out.
    """

    def run(batch: Tensor) -> Tensor:
        with torch.no_grad(), _last_layer(network) as kept:
            size = network(batch)["out"].shape[2:]
            phi, logits = kept
            p = logits.softmax(1)
            classes = p.shape[1]
            predicted = p.scatter(1, logits.argmax(1, keepdim=True), 0.0)
            norms = [
                torch.linalg.vector_norm(weights, power, dim=1) * torch.linalg.vector_norm(phi, power, dim=1)
                for weights in (predicted, p * ((classes - 1) / classes))
                for power in _POWERS
            ]
            maps = F.interpolate(torch.stack(norms, dim=1), size=size, mode="bilinear")
            return maps[:, len(_POWERS) - 1]

    return Prepared(run)


@contextmanager
def _last_layer(network: nn.Module) -> Iterator[list[Tensor]]:
    """Keep the input and the output of the last layer's next call."""
    kept: list[Tensor] = []
    handle = network.get_submodule(LAYER).register_forward_hook(
        lambda module, inputs, output: kept.extend((inputs[0], output))
    )
    try:
        yield kept
    finally:
        handle.remove()


def _loop(network: nn.Module, inputs: Tensor) -> Prepared:
    weight, bias = network.get_submodule(LAYER).parameters()
    logits = network(inputs)["out"]
    losses = (logits.logsumexp(1) - logits.amax(1)).flatten()

    def run(batch: Tensor) -> None:
        for pixel in range(_LOOP_PIXELS):
            torch.autograd.grad(losses[pixel], (weight, bias), retain_graph=True)

    return Prepared(run)


PIXEL_METHODS: dict[str, PixelMethod] = {
    REFERENCE: PixelMethod("forward pass", "plain", _forward, "-"),
    "channels-last": PixelMethod("forward pass, channels last", "plain", _forward_channels_last, "-"),
    "gradmeter": PixelMethod("PixelMeter", "gradmeter", _gradmeter, "8 statistics"),
    "closed-form": PixelMethod("closed form by torch operations", "peer", _closed_form, "l1 and l2"),
    "pgn": PixelMethod("PGN's published way", "peer", _pgn, "10 norms, interpolated"),
    "loop": PixelMethod("loop over the pixels, extrapolated", "peer", _loop, "the gradient", pixels=_LOOP_PIXELS),
}
"""Methods by their name in results.json, in the order of the page."""


def layer_methods() -> dict[str, Method]:
    """PixelMeter for each of the further layers, by the layer's name."""

    def prepare(layer: str) -> Callable[[nn.Module, Tensor], Prepared]:
        return lambda network, inputs: Prepared(_of_layer(PixelMeter(network, layer), layer))

    return {layer: Method(layer, "gradmeter", prepare(layer), "8 statistics") for layer in LAYERS}


def _of_layer(meter: PixelMeter, layer: str) -> Callable[[Tensor], Tensor]:
    return lambda batch: meter(batch)[layer, "l2"]


def exact_l2(model: Model, pixels: list[int]) -> list[float]:
    """The L2 norms of some pixels' gradients in float64, each by a backward pass; pixels number all of the batch."""
    network, inputs = model.build()
    network.double()
    layer = network.get_submodule(LAYER)
    logits = network(inputs.double())["out"]
    losses = (logits.logsumexp(1) - logits.amax(1)).flatten()
    norms = []
    for pixel in pixels:
        gradients = torch.autograd.grad(losses[pixel], tuple(layer.parameters()), retain_graph=True)
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
    return norms
