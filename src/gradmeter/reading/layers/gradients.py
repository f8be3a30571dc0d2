"""Representations of the per-sample gradient of a parameter before it is reduced."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from gradmeter.reading.kernels import chunked, correlate, materialise, reduce, reduction_bytes
from gradmeter.reading.kernels.geometry import POINT, Geometry
from gradmeter.reading.statistics import PowerSums


class PerSampleGradient(ABC):
    """The gradient of one parameter for every sample of a batch, in a form that needs little memory."""

    samples: int
    """Number of samples in the batch."""

    bytes_per_sample: int
    """Memory for materialising and reducing one sample."""

    late: bool = False
    """Whether it can be materialised only after the backward pass."""

    alone: bool = False
    """Whether materialising it ran an operation's backward pass for one sample at a time."""

    @abstractmethod
    def materialise(self, rows: slice) -> Tensor:
        """Materialise the gradients of some samples, [n, *parameter.shape]."""

    def power_sums(self) -> PowerSums:
        """The power sums; subclasses override this if they need not materialise the gradient."""
        return chunked(self.materialise, self.samples, self.bytes_per_sample)


def product_of_sums(left: PowerSums, right: PowerSums) -> PowerSums:
    """Power sums of an outer product: products of the factors' sums, and extremes among four products."""
    corners = (left.numbers[:, 5:, None] * right.numbers[:, None, 5:]).flatten(1)
    sums = left.numbers[:, :5] * right.numbers[:, :5]
    extremes = [corners.amin(1, keepdim=True), corners.amax(1, keepdim=True)]
    return PowerSums(left.count * right.count, torch.cat([sums, *extremes], dim=1))


class Direct(PerSampleGradient):
    """A materialised gradient, [N, *parameter.shape]."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.samples = len(values)
        self.bytes_per_sample = reduction_bytes(math.prod(values.shape[1:]), values)

    def materialise(self, rows: slice) -> Tensor:
        """Return the gradients of some samples, [n, *parameter.shape]."""
        return self.values[rows]

    def power_sums(self) -> PowerSums:
        """The power sums."""
        return reduce(self.values)


class Dense(PerSampleGradient):
    """The weight gradient of a dense layer: the sum of delta x activation over positions T.

    Args:
        delta: [N, T, M] gradient of the output.
        activation: [N, T, K] input; the gradient is [N, M, K].
    """

    def __init__(self, delta: Tensor, activation: Tensor) -> None:
        self.delta, self.activation = delta, activation
        self.samples = len(delta)
        self.bytes_per_sample = reduction_bytes(delta.shape[2] * activation.shape[2], delta)

    def materialise(self, rows: slice) -> Tensor:
        """Materialise the gradients of some samples, [n, M, K]."""
        return self.delta[rows].transpose(1, 2) @ self.activation[rows]

    def power_sums(self) -> PowerSums:
        """The power sums; for one position they are those of an outer product."""
        if self.delta.shape[1] > 1:
            return correlate(self.delta.transpose(1, 2), self.activation.transpose(1, 2), POINT)[0]
        return product_of_sums(reduce(self.delta.squeeze(1)), reduce(self.activation.squeeze(1)))

    def transposed(self) -> Dense:
        """The gradient [N, K, M] of the transposed weight."""
        return Dense(self.activation, self.delta)


class Correlation(PerSampleGradient):
    """The weight gradient of a convolution: the sum of delta x window over positions.

    Args:
        delta: [N, M, *out] gradient of the output.
        activation: [N, C, *in] input, without padding.
        geometry: geometry of the convolution.
        shape: shape [M, C / groups, *kernel] of the weight; the geometry may have further dimensions of size 1.
    """

    def __init__(self, delta: Tensor, activation: Tensor, geometry: Geometry, shape: tuple[int, ...]) -> None:
        self.delta, self.activation, self.geometry, self.shape = delta, activation, geometry, shape
        self.samples = len(delta)
        entries = delta.shape[1] * activation.shape[1] // geometry.groups * geometry.taps
        columns = activation.shape[1] * geometry.taps * math.prod(delta.shape[2:]) * delta.element_size()
        self.bytes_per_sample = columns + reduction_bytes(entries, delta)
        self.totals: Tensor | None = None

    def materialise(self, rows: slice) -> Tensor:
        """Materialise the gradients of some samples, [n, M, C / groups, *kernel]."""
        return materialise(self.delta[rows], self.activation[rows], self.geometry).reshape(-1, *self.shape)

    def power_sums(self) -> PowerSums:
        """The power sums, reduced while the gradient is computed; may also set `totals`, the sums of delta."""
        sums, self.totals = correlate(self.delta, self.activation, self.geometry)
        return sums


class Totals(PerSampleGradient):
    """The bias gradient of a convolution: the sum of delta [N, M, *out] over positions, [N, M].

    Args:
        delta: [N, M, *out].
        weight: the weight gradient of the same convolution, whose reduction may have summed delta already.
    """

    def __init__(self, delta: Tensor, weight: Correlation | None) -> None:
        self.delta, self.weight = delta, weight
        self.samples = len(delta)
        self.bytes_per_sample = reduction_bytes(delta.shape[1], delta)

    def materialise(self, rows: slice) -> Tensor:
        """Materialise the gradients of some samples, [n, M]."""
        if self.weight is not None and self.weight.totals is not None:
            return self.weight.totals[rows]
        return self.delta[rows].flatten(2).sum(2)

    def power_sums(self) -> PowerSums:
        """The power sums."""
        return reduce(self.materialise(slice(None)))


class _Transposed(PerSampleGradient):
    """The gradient of a matrix whose transpose has the given gradient."""

    def __init__(self, inner: PerSampleGradient) -> None:
        self.inner, self.late = inner, inner.late
        self.samples, self.bytes_per_sample = inner.samples, inner.bytes_per_sample

    @property
    def alone(self) -> bool:  # type: ignore[override]
        return self.inner.alone

    def materialise(self, rows: slice) -> Tensor:
        return self.inner.materialise(rows).transpose(1, 2)

    def power_sums(self) -> PowerSums:
        return self.inner.power_sums()


def transposed(gradient: PerSampleGradient) -> PerSampleGradient:
    """The gradient of a matrix from that of its transpose."""
    if isinstance(gradient, Dense):
        return gradient.transposed()
    return _Transposed(gradient)


def total(contributions: Sequence[PerSampleGradient]) -> PowerSums:
    """Power sums of the sum of several gradients, one per use of the parameter."""
    if len(contributions) == 1:
        return contributions[0].power_sums()
    dense = [gradient for gradient in contributions if isinstance(gradient, Dense)]
    if len(dense) == len(contributions):
        # Concatenate the positions of all calls.
        delta = torch.cat([gradient.delta for gradient in dense], dim=1)
        return Dense(delta, torch.cat([gradient.activation for gradient in dense], dim=1)).power_sums()

    def materialise_sum(rows: slice) -> Tensor:
        result = contributions[0].materialise(rows)
        for further in contributions[1:]:
            result = result + further.materialise(rows)
        return result

    memory = max(gradient.bytes_per_sample for gradient in contributions)
    return chunked(materialise_sum, contributions[0].samples, memory)
