"""Readings of scenes: the gradients of every pixel, and the input of the network's last layer.

The network's logits have half the height and width. They are upsampled to the images, as in training, and the gradients
are those of the upsampled pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.reading.pixels import PixelMeter, PixelReadings
from gradmeter.reading.pixels.scores import PREDICTED, UNIFORM, confidence_scores
from gradmeter.research.street.network import BEFORE, LAST, StreetNet, upsampled

LAYERS, LABELS = (LAST, BEFORE), (PREDICTED, UNIFORM)
"""What is measured: the last two layers, for two pseudo-labels."""
# Smaller sizes, relative to the start vector, are mapped to about this one.
_FLOOR = 1e-12
_SIZES = ("l1", "l2", "min", "max", "std")

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SceneReadings:
    """Readings of a batch of scenes.

    Attributes:
        pixels: gradients and logits of every pixel.
        inputs: [N, K, H, W] input of the last layer, upsampled like the logits.
    """

    pixels: PixelReadings
    inputs: Tensor


class SceneReader:
    """Reads scenes with one network.

    Args:
        network: a trained network.
    """

    def __init__(self, network: StreetNet) -> None:
        self._network, self._meter = network.eval(), PixelMeter(network, LAYERS, LABELS, size="input")

    def __call__(self, images: Tensor) -> SceneReadings:
        """Read images [N, 3, H, W]."""
        with torch.inference_mode():
            inputs = upsampled(self._network.features(images), images)
        return SceneReadings(self._meter(images), inputs)


@dataclass(frozen=True, eq=False)
class PixelFeatures:
    """What a judge may read of n pixels.

    Attributes:
        forward: [n, f] the softmax, entropy, energy and logits.
        inputs: [n, i] statistics of the last layer's input.
        gradients: [n, g] statistics of the gradients of both layers and pseudo-labels.
    """

    forward: Values
    inputs: Values
    gradients: Values

    @classmethod
    def of(cls, scenes: SceneReadings) -> PixelFeatures:
        """Return the features of all pixels, image by image, row by row."""
        return cls(
            _columns(_forward(scenes.pixels)), _columns(_of_inputs(scenes.inputs)), _columns(_gradients(scenes.pixels))
        )

    @classmethod
    def concatenate(cls, parts: list[PixelFeatures]) -> PixelFeatures:
        """Return the features of all parts, in order."""
        joined = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("forward", "inputs", "gradients")
        )
        return cls(*joined)

    def rows(self, rows: NDArray[np.intp]) -> PixelFeatures:
        """Return the features of some pixels."""
        return PixelFeatures(self.forward[rows], self.inputs[rows], self.gradients[rows])

    def __len__(self) -> int:
        return len(self.forward)


def _columns(maps: list[Tensor]) -> Values:
    return np.stack([values.flatten().numpy() for values in maps], axis=1)


def _forward(readings: PixelReadings) -> list[Tensor]:
    scores = confidence_scores(readings.logits)
    doubt, entropy = scores["maximum softmax"], scores["entropy"]
    logarithm = (entropy + _FLOOR).log()
    logits = readings.logits.double()
    ordered = logits.softmax(dim=1).topk(2, dim=1).values
    margin = ordered[:, 0] - ordered[:, 1]
    return [doubt, doubt.exp(), entropy, logarithm, margin, scores["energy"], scores["max logit"], *logits.unbind(1)]


def _of_inputs(inputs: Tensor) -> list[Tensor]:
    values = inputs.double()
    sizes = [values.abs().sum(dim=1), values.norm(dim=1), values.std(dim=1), values.amax(dim=1)]
    return [*((size + _FLOOR).log() for size in sizes), values.mean(dim=1), values.amin(dim=1)]


def _gradients(readings: PixelReadings) -> list[Tensor]:
    """Return logarithms of sizes relative to the size of the start vector, skewness and kurtosis; the mean, in which
    entries cancel, is left out.
    """
    columns = []
    for label in readings.pseudo_labels:
        part = readings.for_pseudo_label(label)
        for layer in part.layers:
            columns += [(part[layer, size].abs() / part.log_scale.exp() + _FLOOR).log() for size in _SIZES]
            columns.append(torch.nan_to_num(part[layer, "skewness"]).arcsinh())
            columns.append((torch.nan_to_num(part[layer, "kurtosis"]) + 3).clamp(min=1).log())
    return columns
