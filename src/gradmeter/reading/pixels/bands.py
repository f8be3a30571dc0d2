"""Matrices along one image axis whose rows are zero outside of a short window, such as that of an upsampling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Band:
    """A matrix [outputs, inputs] on the CPU.

    Attributes:
        start: [outputs] int64, the first position of each row's window.
        weights: [outputs, length] float64, the entries of the windows.
        inputs: number of columns.
    """

    start: Tensor
    weights: Tensor
    inputs: int

    @classmethod
    def identity(cls, length: int) -> Band:
        """The identity."""
        return cls(torch.arange(length, device="cpu"), torch.ones(length, 1, dtype=torch.float64, device="cpu"), length)

    @classmethod
    def of(cls, positions: Tensor, weights: Tensor, inputs: int) -> Band:
        """A matrix whose rows are the sums of weights [outputs, entries] at positions [outputs, entries]."""
        reads = weights != 0
        start = torch.where(reads, positions, inputs).amin(1)
        end = torch.where(reads, positions + 1, 0).amax(1)
        length = max(1, int((end - start).max()))
        start = start.clamp(max=inputs - length)
        return cls(start, _entries(positions - start.unsqueeze(1), weights, length), inputs)

    @classmethod
    def of_matrix(cls, matrix: Tensor) -> Band:
        """A matrix [outputs, inputs] float64 in this form."""
        return cls.of(torch.arange(matrix.shape[1], device="cpu").expand(matrix.shape), matrix, matrix.shape[1])

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, outputs: slice | Tensor) -> Band:
        return Band(self.start[outputs], self.weights[outputs], self.inputs)

    def __matmul__(self, other: Band) -> Band:
        read = self.positions
        weights = self.weights.unsqueeze(2) * other.weights[read]
        return Band.of(other.positions[read].flatten(1), weights.flatten(1), other.inputs)

    def __rmul__(self, factor: float) -> Band:
        return Band(self.start, factor * self.weights, self.inputs)

    @property
    def positions(self) -> Tensor:
        """The positions of the windows' entries, [outputs, length]."""
        return self.start.unsqueeze(1) + torch.arange(self.weights.shape[1], device="cpu")

    def equals(self, other: Band) -> bool:
        """Whether two matrices are equal."""
        same = self.inputs == other.inputs and torch.equal(self.start, other.start)
        return same and torch.equal(self.weights, other.weights)

    def padded(self, before: int, after: int) -> Band:
        """The matrix with rows of zeros before and after its rows; without some rows for negative numbers."""
        return Band(F.pad(self.start, (before, after)), F.pad(self.weights, (0, 0, before, after)), self.inputs)

    def selected(self, positions: Tensor, inputs: int) -> Band:
        """The matrix that reads at positions [self.inputs] of `inputs` what this one reads; -1 stands for a zero."""
        read = positions[self.positions]
        return Band.of(read, torch.where(read < 0, 0.0, self.weights), inputs)

    def in_windows(self, start: Tensor, length: int) -> Tensor:
        """The entries of windows that hold all others than zeros, [outputs, length], for their starts [outputs]."""
        return _entries(self.positions - start.unsqueeze(1), self.weights, length)

    def block(self) -> tuple[slice, Tensor]:
        """The positions from the first to the last that any row reads, and the entries there."""
        read = self.positions[self.weights != 0]
        if not len(read):
            return slice(0, 0), self.weights.new_zeros(len(self), 0)
        first, end = int(read.min()), int(read.max()) + 1
        return slice(first, end), self.in_windows(self.start.new_full((len(self),), first), end - first)

    def dense(self) -> Tensor:
        """All entries, [outputs, inputs] float64."""
        return self.in_windows(torch.zeros_like(self.start), self.inputs)

    def pulled_back(self, values: Tensor) -> Tensor:
        """values @ matrix, [..., inputs], for values [..., outputs] of any device and dtype."""
        total = values.new_zeros(*values.shape[:-1], self.inputs)
        positions, weights = self.positions.T.to(values.device), self.weights.T.to(values)
        for at, weight in zip(positions, weights, strict=True):
            total.index_add_(-1, at, values * weight)
        return total


def _entries(places: Tensor, weights: Tensor, length: int) -> Tensor:
    """The sums of weights at places [outputs, entries] of rows [outputs, length]."""
    # A weight of zero adds nothing, wherever it is.
    return weights.new_zeros(len(weights), length).scatter_add_(1, places.clamp(0, length - 1), weights)
