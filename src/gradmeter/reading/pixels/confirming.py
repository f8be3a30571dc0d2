"""Comparison of readings with backward passes of a few pixels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.pixels.pixelwise import SlowLayer
from gradmeter.reading.pixels.readings import PixelReadings, write_statistics
from gradmeter.reading.pixels.starts import PixelStarts, Start
from gradmeter.reading.pixels.structure import checked_pixels
from gradmeter.reading.statistics import STATISTICS

# Of the pixels whose logits are compared, every third, because each costs a backward pass.
_EVERY = 3
# Largest difference of a statistic, relative to its size and the spread of the entries.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-2}
_TOLERANCE_HALF = 0.2


def differing_layers(
    readings: PixelReadings, layers: Mapping[str, SlowLayer], logits: Tensor, start: Start, dtype: torch.dtype
) -> list[str]:
    """Return the layers whose statistics are not those of a backward pass, at a few pixels of the first image.

    Args:
        readings: readings of a batch.
        layers: the layers to compare.
        logits: [1, C, H, W] of the first image, with their graph.
        start: the pseudo-label of `readings.values`.
        dtype: the least precise dtype of the layers' outputs.
    """
    of_pixels = logits[0].flatten(1).T
    few = checked_pixels(len(of_pixels))[::_EVERY]
    starts = PixelStarts(start, readings.logits[0].flatten(1)[:, few])
    try:
        sums = {layer: of_layer.sums(of_pixels[few], starts.direction) for layer, of_layer in layers.items()}
    except UnsupportedModelError:  # the network overwrites what a backward pass needs
        return []
    factor, tolerance = starts.log_scale.exp(), _TOLERANCE.get(dtype, _TOLERANCE_HALF)
    scaling = [number for number, metric in enumerate(readings.metrics) if STATISTICS[metric].scales]
    differing = []
    for layer, of_layer in sums.items():
        ours = readings.values[0, readings.layers.index(layer)].flatten(1)[:, few]
        expected = torch.empty_like(ours)
        write_statistics(of_layer, factor, readings.metrics, expected)
        limit = tolerance * (expected.abs() + expected[readings.metrics.index("std")])
        if bool(((ours - expected).abs() > limit)[scaling].any()):
            differing.append(layer)
    return differing
