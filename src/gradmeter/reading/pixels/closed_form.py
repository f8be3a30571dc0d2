"""Power sums of the gradients of a last layer, as products of those of its inputs and of the logits' derivatives."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import nn

from gradmeter.reading.pixels.calls import Kept
from gradmeter.reading.pixels.features import Features
from gradmeter.reading.pixels.paths import Path
from gradmeter.reading.pixels.planar import merged, product
from gradmeter.reading.pixels.starts import PixelStarts
from gradmeter.reading.pixels.taps import taps_of
from gradmeter.reading.statistics import PowerSums


@dataclass(frozen=True)
class LastLayer:
    """A last layer, for a batch.

    Attributes:
        features: its inputs.
        weight: whether its weight is measured.
        bias: whether its bias is measured.
    """

    features: Features
    weight: bool
    bias: bool

    def sums(self, image: int, rows: slice, starts: Sequence[PixelStarts]) -> list[PowerSums]:
        """Power sums of the gradients of P pixels, for each of several losses.

        Args:
            image: number of the image in the batch.
            rows: the pixels' rows.
            starts: for each loss the start vectors of the pixels.
        """
        if not self.weight:
            constant = self.features.constant(rows)
            return [product(start.total, constant) for start in starts]
        inputs = self.features.sums(image, rows)
        if not self.bias:
            return [_products(start, inputs) for start in starts]
        constant = self.features.constant(rows)
        if len(inputs) == 1:
            # The bias is the weight of a further input, which is constant.
            extended = [merged([*inputs, constant])]
            return [_products(start, extended) for start in starts]
        return [merged([_products(start, inputs), product(start.total, constant)]) for start in starts]


def _products(start: PixelStarts, inputs: Sequence[PowerSums]) -> PowerSums:
    return merged([product(*pair) for pair in zip(start.sums(len(inputs)), inputs, strict=True)])


def last_layer(
    module: nn.Module, parameters: Collection[str], calls: Sequence[Kept], paths: Sequence[Path]
) -> LastLayer:
    """A last layer from its calls and their paths to the logits.

    Args:
        module: the layer.
        parameters: names of the parameters to measure.
        calls: its calls in the order of `paths`.
        paths: the paths.
    """
    joined = []
    for call, path in zip(calls, paths, strict=True):
        taps = taps_of(module, tuple(call.activation.shape), tuple(call.output.shape))
        assert taps is not None
        joined.append((call.activation.detach(), taps, path))
    return LastLayer(Features(joined), "weight" in parameters, "bias" in parameters)
