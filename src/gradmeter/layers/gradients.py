"""Forms in which the per-sample gradient of a parameter is held until it is reduced."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gradmeter.statistics import PowerSums

# A materialised chunk is turned into float64 and squared beside the original.
_REDUCTION_BYTES = 16


@dataclass(frozen=True)
class Direct:
    """A gradient that is small enough to be held as it is, [N, *parameter.shape]."""

    values: Tensor

    @property
    def samples(self) -> int:
        """Samples in the batch."""
        return len(self.values)

    @property
    def bytes_per_sample(self) -> int:
        """Memory that materialising one sample takes, workspace included."""
        return self.values[0].numel() * (self.values.element_size() + _REDUCTION_BYTES)

    def materialise(self, rows: slice) -> Tensor:
        """The gradients of some samples, [n, *parameter.shape]."""
        return self.values[rows]

    def closed_form(self) -> PowerSums | None:
        """None: it has to be materialised."""
        return None


@dataclass(frozen=True)
class Outer:
    """A gradient delta x activation of a dense layer with one position: [N, M] and [N, K] make [N, M, K]."""

    delta: Tensor
    activation: Tensor

    @property
    def samples(self) -> int:
        """Samples in the batch."""
        return len(self.delta)

    @property
    def bytes_per_sample(self) -> int:
        """Memory that materialising one sample takes, workspace included."""
        entries = self.delta.shape[1] * self.activation.shape[1]
        return entries * (self.delta.element_size() + _REDUCTION_BYTES)

    def materialise(self, rows: slice) -> Tensor:
        """The gradients of some samples, [n, *parameter.shape]."""
        return self.delta[rows].unsqueeze(2) * self.activation[rows].unsqueeze(1)

    def closed_form(self) -> PowerSums | None:
        """Sums of an outer product are products of sums; its extremes are among the four products of extremes."""
        left, right = PowerSums.of(self.delta), PowerSums.of(self.activation)
        corners = torch.stack([a * b for a in (left.minimum, left.maximum) for b in (right.minimum, right.maximum)])
        return PowerSums(left.count * right.count, left.sums * right.sums, corners.amin(0), corners.amax(0))


@dataclass(frozen=True)
class Geometry:
    """How the windows of a convolution lie, one entry per spatial dimension."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


@dataclass(frozen=True)
class Correlation:
    """The weight gradient of a convolution, or of a dense layer over positions: sum over positions of delta x window.

    Attributes:
        delta: [N, M, *out] gradient of the output.
        activation: [N, C, *in] input, padding included.
        geometry: the windows; the gradient is [N, M, C / groups, *kernel].
    """

    delta: Tensor
    activation: Tensor
    geometry: Geometry

    @property
    def samples(self) -> int:
        """Samples in the batch."""
        return len(self.delta)

    @property
    def bytes_per_sample(self) -> int:
        """Memory that materialising one sample takes, workspace included."""
        channels, positions = self.activation.shape[1], math.prod(self.delta.shape[2:])
        window = math.prod(self.geometry.kernel)
        columns = channels * window * positions
        entries = self.delta.shape[1] * channels // self.geometry.groups * window
        return columns * self.delta.element_size() + entries * (self.delta.element_size() + _REDUCTION_BYTES)

    def _windows(self, rows: slice) -> Tensor:
        """A view [n, C, *out, *kernel] of the input: which entries each output position saw."""
        windows = self.activation[rows]
        geometry = self.geometry
        for axis, out in enumerate(self.delta.shape[2:], start=2):
            size = (geometry.kernel[axis - 2] - 1) * geometry.dilation[axis - 2] + 1
            windows = windows.unfold(axis, size, geometry.stride[axis - 2]).narrow(axis, 0, out)
            windows = windows[..., :: geometry.dilation[axis - 2]]
        return windows

    def materialise(self, rows: slice) -> Tensor:
        """The gradients of some samples, [n, *parameter.shape]."""
        geometry, dims = self.geometry, len(self.geometry.kernel)
        windows = self._windows(rows)
        samples, channels, groups = len(windows), windows.shape[1], geometry.groups
        windows = windows.unflatten(1, (groups, channels // groups))
        delta = self.delta[rows].flatten(2).unflatten(1, (groups, -1))
        out = tuple(range(3, 3 + dims))
        kernel = tuple(range(3 + dims, 3 + 2 * dims))
        # Copy the windows in the order in which the input lies in memory: long runs make a cheap copy.
        if self.activation.stride(1) == 1 and channels > 1:
            columns = windows.permute(0, 1, *out, *kernel, 2).flatten(2, 1 + dims).flatten(3)
            gradient = delta @ columns
            gradient = gradient.unflatten(3, (*geometry.kernel, channels // groups)).movedim(-1, 3)
        else:
            columns = windows.permute(0, 1, 2, *kernel, *out).flatten(2, 2 + dims).flatten(3)
            gradient = delta @ columns.transpose(2, 3)
            gradient = gradient.unflatten(3, (channels // groups, *geometry.kernel))
        result: Tensor = gradient.reshape(samples, -1, channels // groups, *geometry.kernel)
        return result

    def closed_form(self) -> PowerSums | None:
        """None: it has to be materialised."""
        return None
