"""Power sums in operations that ONNX has, and the per-sample gradients that they reduce."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradmeter.reading.layers.gradients import product_of_sums
from gradmeter.reading.statistics import PowerSums


def power_sums(values: Tensor) -> PowerSums:
    """Reduce [N, K] in float64, as `PowerSums.of` does."""
    exact = values.double()
    square = exact * exact
    sums = [
        *(power.sum(1, keepdim=True) for power in (exact, square, square * exact, square * square, exact.abs())),
        # These are exact without float64, which takes twice the memory.
        values.amin(1, keepdim=True).double(),
        values.amax(1, keepdim=True).double(),
    ]
    return PowerSums(values.shape[1], torch.cat(sums, dim=1))


@dataclass(frozen=True, eq=False)
class Product:
    """The gradient of a weight: products of two factors, summed over positions.

    Attributes:
        delta: [N, G, M, T] gradient of the output, in G groups of M channels at T positions.
        windows: [N, G, K, T] what each entry of a channel's weight was multiplied with.
    """

    delta: Tensor
    windows: Tensor

    def materialise(self) -> Tensor:
        """The gradient of each sample, [N, G M K], in the order of the weight's entries."""
        return (self.delta @ self.windows.transpose(2, 3)).flatten(1)

    def power_sums(self) -> PowerSums:
        """The power sums; for one position and one group they are those of an outer product."""
        if self.delta.shape[1] == self.delta.shape[3] == 1:
            return product_of_sums(power_sums(self.delta.flatten(1)), power_sums(self.windows.flatten(1)))
        return power_sums(self.materialise())


@dataclass(frozen=True, eq=False)
class Direct:
    """A materialised gradient.

    Attributes:
        values: [N, K].
    """

    values: Tensor

    def materialise(self) -> Tensor:
        """The gradient of each sample, [N, K]."""
        return self.values

    def power_sums(self) -> PowerSums:
        """The power sums."""
        return power_sums(self.values)


ParameterGradient = Product | Direct


def sums_of_uses(gradients: Sequence[ParameterGradient]) -> PowerSums:
    """Power sums of the gradient of a parameter that is used several times: the sum of what each use contributes."""
    if len(gradients) == 1:
        return gradients[0].power_sums()
    return power_sums(torch.stack([gradient.materialise() for gradient in gradients]).sum(0))
