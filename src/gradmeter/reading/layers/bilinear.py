"""Bilinear layers, which multiply two inputs with one matrix of parameters per output."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmeter.reading.capture import Operation
from gradmeter.reading.kernels import reduce, reduction_bytes
from gradmeter.reading.layers.gradients import PerSampleGradient, product_of_sums
from gradmeter.reading.layers.registry import register_rule
from gradmeter.reading.statistics import PowerSums

# Arguments of the trilinear operation in nn.Bilinear: dimensions along which each factor is expanded, and summed ones.
_LAYOUT = {"expand1": (1, 3), "expand2": (0,), "expand3": (1, 2), "sumdim": (2, 3)}


class Trilinear(PerSampleGradient):
    """The gradient of a bilinear layer's weight: the sum of delta x left x right over positions T.

    Args:
        delta: [N, T, M] gradient of the output.
        left: [N, T, K] first input.
        right: [N, T, L] second input; the gradient is [N, M, K, L].
    """

    def __init__(self, delta: Tensor, left: Tensor, right: Tensor) -> None:
        self.factors = delta, left, right
        self.samples = len(delta)
        entries = delta.shape[2] * left.shape[2] * right.shape[2]
        self.bytes_per_sample = reduction_bytes(entries, delta)

    def materialise(self, rows: slice) -> Tensor:
        """Materialise the gradients of some samples, [n, M, K, L]."""
        return torch.einsum("ntm,ntk,ntl->nmkl", *(factor[rows] for factor in self.factors))

    def power_sums(self) -> PowerSums:
        """The power sums; for one position, sums of an outer product are products of sums."""
        if self.factors[0].shape[1] > 1:
            return super().power_sums()
        delta, left, right = (reduce(factor.squeeze(1)) for factor in self.factors)
        return product_of_sums(product_of_sums(delta, left), right)


@register_rule("TrilinearBackward0")
def bilinear(operation: Operation) -> dict[int, PerSampleGradient]:
    """The weight [M, K, L] of nn.Bilinear; other products of three factors are left to autograd."""
    if operation.inputs != (1,) or operation.axis.dim != 0:
        return {}
    if any(tuple(operation.saved(name)) != dims for name, dims in _LAYOUT.items()):
        return {}
    factors = operation.delta, operation.saved("i1"), operation.saved("i3")
    return {1: Trilinear(*(operation.positions(factor) for factor in factors))}
