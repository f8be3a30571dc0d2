"""The general fall-back: what has no rule goes through autograd, sample by sample. Right for all, fast for none."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from gradmeter.capture import Operation, metadata
from gradmeter.kernels import reduction_bytes
from gradmeter.layers.gradients import PerSampleGradient


class Masked(PerSampleGradient):
    """The gradient by one input of an operation, whose backward pass is run with the other samples' rows at zero."""

    late = True

    def __init__(self, operation: Operation, number: int) -> None:
        self.operation, self.number = operation, number
        self.samples = operation.samples
        like = operation.input_metadata(number)
        self._zeros = torch.zeros((), dtype=like.dtype, device=like.device).expand(tuple(like.shape))
        self.bytes_per_sample = reduction_bytes(self._zeros.numel(), self._zeros)

    def materialise(self, rows: slice) -> Tensor:
        """The gradients of some samples, [n, *input.shape]."""
        return torch.stack([self._alone(sample) for sample in range(self.samples)[rows]])

    def _alone(self, sample: int) -> Tensor:
        gradient = self.operation.input_gradients(sample)[self.number]
        if gradient is None:
            return self._zeros
        # Autograd's engine would sum over what the input was broadcast to.
        return gradient.to_dense() if gradient.is_sparse else gradient.sum_to_size(self._zeros.shape)


class PulledBack(PerSampleGradient):
    """The gradient of a parameter behind operations on parameters alone, such as a weight norm.

    Args:
        inner: the gradient of what those operations made.
        edge: what they made.
        leaf: where the parameter enters.
    """

    def __init__(self, inner: PerSampleGradient, edge: GradientEdge, leaf: GradientEdge) -> None:
        self.inner, self.edge, self.leaf = inner, edge, leaf
        self.parameter: Tensor = leaf.node.variable  # type: ignore[attr-defined]
        self.dtype: torch.dtype = metadata(edge.node)[edge.output_nr].dtype
        self.late = inner.late
        self.samples, self.bytes_per_sample = inner.samples, 2 * inner.bytes_per_sample

    def materialise(self, rows: slice) -> Tensor:
        """The gradients of some samples, [n, *parameter.shape]."""
        return torch.stack([self._alone(inner) for inner in self.inner.materialise(rows)])

    def _alone(self, inner: Tensor) -> Tensor:
        # A network of fewer digits has its gradients widened.
        inner = inner.to(self.dtype)
        (gradient,) = torch.autograd.grad(
            [self.edge], [self.leaf], grad_outputs=[inner], retain_graph=True, allow_unused=True
        )
        return self.parameter.new_zeros(self.parameter.shape) if gradient is None else gradient
