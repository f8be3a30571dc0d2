"""Gradients of operations without a rule, by autograd: correct for all, fast for elementwise operations only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from gradmeter.reading.capture import Operation, metadata
from gradmeter.reading.kernels import reduction_bytes
from gradmeter.reading.layers.broadcasting import summed_to_input
from gradmeter.reading.layers.gradients import PerSampleGradient
from gradmeter.reading.statistics import PowerSums

# Largest difference between a sample's gradient alone and in a batch, relative to the largest entry, for rounding in
# float32.
_TOLERANCE = 1e-4

# Operations that only rearrange the entries of their one input.
_REARRANGING = {
    f"{name}Backward0"
    for name in ("Alias", "Clone", "Permute", "Squeeze", "T", "Transpose", "UnsafeView", "Unsqueeze", "View")
} | {"ReshapeAliasBackward0", "SqueezeBackward1", "SqueezeBackward2", "TransposeBackward1"}


class Masked(PerSampleGradient):
    """The gradient of one input of an operation, from the operation's own backward pass.

    For an elementwise operation one pass serves all samples, because its gradient is not yet summed over broadcast
    dimensions. Other operations run once per sample, with zeros in the rows of the other samples.
    """

    late = True

    def __init__(self, operation: Operation, number: int) -> None:
        self.operation, self.number = operation, number
        self.samples = operation.samples
        like = operation.input_metadata(number)
        self._zeros = torch.zeros((), dtype=like.dtype, device=like.device).expand(tuple(like.shape))
        self.bytes_per_sample = reduction_bytes(self._zeros.numel(), self._zeros)

    def materialise(self, rows: slice) -> Tensor:
        """Materialise the gradients of some samples, [n, *input.shape]."""
        if self._elementwise is not None:
            return self._elementwise[rows]
        self.alone = True
        return torch.stack([self._alone(sample) for sample in range(self.samples)[rows]])

    @cached_property
    def _elementwise(self) -> Tensor | None:
        """The gradients [N, *input.shape] from one pass for all samples; None if the operation is not elementwise."""
        operation = self.operation
        if not operation.regular or sum(gradient is not None for gradient in operation.gradients) > 1:
            return None
        values = self._rows(operation.input_gradients())
        if values is None:
            return None
        # If the operation mixes the entries of samples, a sample alone has another gradient, or the others have one.
        for sample in {0, operation.samples - 1}:
            alone = self._rows(operation.input_gradients(sample))
            if alone is None:
                return None
            own = torch.zeros_like(values)
            own[sample] = values[sample]
            # Zero times infinity is NaN, also in the rows of other samples; no comparison with it is true.
            largest = own.abs().nan_to_num(0, 0, 0).max()
            if ((alone - own).abs() > _TOLERANCE * largest).any():
                return None
        return values

    def _rows(self, gradients: Sequence[Tensor | None]) -> Tensor | None:
        """The gradient [N, *input.shape] from those of all inputs; None if it is not laid out like the output."""
        gradient = gradients[self.number]
        if gradient is None or gradient.is_sparse or gradient.shape != self.operation.delta.shape:
            return None
        summed = summed_to_input(self.operation, self.number, gradient).get(self.number)
        return None if summed is None else summed.values

    def _alone(self, sample: int) -> Tensor:
        gradient = self.operation.input_gradients(sample)[self.number]
        if gradient is None:
            return self._zeros
        # As autograd's engine does, sum over the dimensions along which the input was broadcast.
        return gradient.to_dense() if gradient.is_sparse else gradient.sum_to_size(self._zeros.shape)


class PulledBack(PerSampleGradient):
    """The gradient of a parameter that enters through operations on parameters alone, such as a weight norm.

    Args:
        inner: the gradient of these operations' output.
        edge: their output.
        leaf: the parameter.
    """

    def __init__(self, inner: PerSampleGradient, edge: GradientEdge, leaf: GradientEdge) -> None:
        self.inner, self.edge, self.leaf = inner, edge, leaf
        self.parameter: Tensor = leaf.node.variable  # type: ignore[attr-defined]
        self.dtype: torch.dtype = metadata(edge.node)[edge.output_nr].dtype
        self.late = inner.late
        self.samples, self.bytes_per_sample = inner.samples, 2 * inner.bytes_per_sample

    @property
    def alone(self) -> bool:  # type: ignore[override]
        """Whether the inner gradient was computed for one sample at a time."""
        return self.inner.alone

    def power_sums(self) -> PowerSums:
        """The power sums; those of the inner gradient if its entries are only rearranged."""
        return self.inner.power_sums() if self._rearranges() else super().power_sums()

    def _rearranges(self) -> bool:
        node = self.edge.node
        while node is not self.leaf.node:
            if node.name() not in _REARRANGING:
                return False
            (child, _) = node.next_functions[0]
            assert child is not None
            node = child
        return True

    def materialise(self, rows: slice) -> Tensor:
        """Materialise the gradients of some samples, [n, *parameter.shape]."""
        return torch.stack([self._alone(inner) for inner in self.inner.materialise(rows)])

    def _alone(self, inner: Tensor) -> Tensor:
        # Gradients in half precision were widened to float32.
        inner = inner.to(self.dtype)
        (gradient,) = torch.autograd.grad(
            [self.edge], [self.leaf], grad_outputs=[inner], retain_graph=True, allow_unused=True
        )
        return self.parameter.new_zeros(self.parameter.shape) if gradient is None else gradient
