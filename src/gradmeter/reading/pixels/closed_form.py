"""Power sums of the gradients of a last layer, as products of those of its inputs and of the logits' derivatives."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gradmeter.reading.kernels import reduce
from gradmeter.reading.layers.gradients import product_of_sums
from gradmeter.reading.pixels.features import Features
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

    def sums(self, image: int, rows: slice, directions: list[Tensor]) -> list[PowerSums]:
        """Power sums of the gradients of P pixels, for each of several losses.

        Args:
            image: number of the image in the batch.
            rows: the pixels' rows.
            directions: for each loss the derivatives [P, C] with respect to the logits, float64.
        """
        inputs = self.features.sums(image, rows) if self.weight else []
        constant = self.features.constant(rows) if self.bias else None
        return [self._of_loss(direction, inputs, constant) for direction in directions]

    def _of_loss(self, direction: Tensor, inputs: list[PowerSums], constant: PowerSums | None) -> PowerSums:
        groups = [reduce(part) for part in direction.chunk(self.features.groups, dim=1)]
        parts = [product_of_sums(group, given) for group, given in zip(groups, inputs, strict=False)]
        if constant is not None:
            parts.append(product_of_sums(PowerSums.merge(groups), constant))
        return PowerSums.merge(parts)
