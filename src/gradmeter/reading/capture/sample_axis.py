"""Sample axes: where the samples lie in an output of a network that folds, transposes, windows or packs its batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class SampleAxis:
    """A dimension of size outer x N x inner.

    Examples of (dim, outer, inner): [N, ...] has (0, 1, 1); [T, N, E] has (1, 1, 1); windows [N * W, ...] have
    (0, 1, W); [T * N, E], with positions before the samples, has (0, T, 1).
    """

    dim: int
    outer: int
    inner: int

    def adapted(self, shape: Shape, samples: int) -> SampleAxis | None:
        """The axis for a tensor of another shape that is folded in the same way; None if it does not fit."""
        if self.dim >= len(shape):
            return None
        if shape[self.dim] == self.outer * samples * self.inner:
            return self
        folds, rest = divmod(shape[self.dim], samples)
        if rest or self.outer == self.inner or 1 not in (self.outer, self.inner):
            return None
        return SampleAxis(self.dim, 1, folds) if self.outer == 1 else SampleAxis(self.dim, folds, 1)

    def rows(self, tensor: Tensor, samples: int) -> Tensor:
        """A view with samples first, [N, ...]; if folded, outer and inner replace the dimension."""
        if self.outer == self.inner == 1:
            return tensor if self.dim == 0 else tensor.movedim(self.dim, 0)
        unfolded: Tensor = tensor.unflatten(self.dim, (self.outer, samples, self.inner))
        return unfolded.movedim(self.dim + 1, 0)

    def only(self, tensor: Tensor, sample: int, samples: int) -> Tensor:
        """A copy with zeros for all other samples."""
        alone = torch.zeros_like(tensor)
        self.rows(alone, samples)[sample] = self.rows(tensor, samples)[sample]
        return alone

    def positions(self, tensor: Tensor, samples: int) -> Tensor:
        """Samples first, [N, ...]; each sample's positions (one if not folded) replace the dimension."""
        unfolded: Tensor = tensor.unflatten(self.dim, (self.outer, samples, self.inner))
        return unfolded.movedim(self.dim + 1, 0).flatten(self.dim + 1, self.dim + 2)

    def owners_along(self, size: int, samples: int) -> Tensor:
        """The sample of each row along the dimension, [size]."""
        return torch.arange(size, device="cpu") // self.inner % samples

    def behind(self, dims: int) -> SampleAxis:
        """The same axis of a tensor with `dims` more dimensions in front."""
        return SampleAxis(self.dim + dims, self.outer, self.inner)

    @property
    def plain(self) -> bool:
        """Whether it is the first dimension with one row per sample."""
        return self.dim == 0 and self.outer == self.inner == 1


@dataclass(frozen=True, eq=False)
class OwnedRows:
    """A dimension along which each row belongs to one sample, in any order, as in a packed batch of sequences.

    Valid for one batch only.

    Attributes:
        dim: the dimension.
        owners: [rows] the sample of each row, -1 where no loss reached it.
        samples: N.
    """

    dim: int
    owners: Tensor
    samples: int

    plain = False

    def adapted(self, shape: Shape, samples: int) -> None:
        """None, because another batch has another order."""
        return

    def owners_along(self, size: int, samples: int) -> Tensor:
        """The sample of each row along the dimension, [size]."""
        return self.owners

    def behind(self, dims: int) -> OwnedRows:
        """The same axis of a tensor with `dims` more dimensions in front."""
        return replace(self, dim=self.dim + dims)

    @cached_property
    def _places(self) -> tuple[Tensor, int]:
        """The target of each row in [N * most + 1], the last for rows without owner; and the most rows of a sample."""
        owned = self.owners >= 0
        most = max(1, int(torch.bincount(self.owners[owned], minlength=1).max()))
        places = self.owners * most
        if most > 1:
            order = self.owners.argsort(stable=True)
            in_order = self.owners[order]
            places[order] += torch.arange(len(order), device=order.device) - torch.searchsorted(in_order, in_order)
        return torch.where(owned, places, self.samples * most), most

    def rows(self, tensor: Tensor, samples: int) -> Tensor:
        """A copy with samples first, [N, ...]; each sample's rows, padded with zeros, replace the dimension."""
        places, most = self._places
        tensor = tensor.movedim(self.dim, 0)
        placed = tensor.new_zeros(samples * most + 1, *tensor.shape[1:]).index_copy_(0, places, tensor)
        rows: Tensor = placed[:-1].unflatten(0, (samples, most)).movedim(1, self.dim + 1)
        return rows

    def positions(self, tensor: Tensor, samples: int) -> Tensor:
        """The same as `rows`."""
        return self.rows(tensor, samples)

    def only(self, tensor: Tensor, sample: int, samples: int) -> Tensor:
        """A copy with zeros for all other samples."""
        own = (self.owners == sample).reshape(-1, *(1,) * (tensor.dim() - self.dim - 1))
        return tensor * own


@dataclass(frozen=True, eq=False)
class Scattered:
    """Entries that each belong to one sample, but not along a dimension. Valid for one batch only.

    Attributes:
        owners: [*output.shape] the sample of each entry, -1 where no loss reached it.
    """

    owners: Tensor

    def adapted(self, shape: Shape, samples: int) -> None:
        """None, because another batch is scattered differently."""
        return

    def only(self, tensor: Tensor, sample: int, samples: int) -> Tensor:
        """A copy with zeros for all other samples."""
        return tensor * (self.owners == sample)


def touched_by(gradients: Sequence[Tensor | None]) -> Tensor | None:
    """The entries of an output that each sample's loss reaches, [N, *output.shape]; None if no loss reaches it."""
    present = [gradient for gradient in gradients if gradient is not None]
    if not present:
        return None
    untouched = torch.zeros_like(present[0], dtype=torch.bool)
    touched = torch.stack([untouched if gradient is None else gradient != 0 for gradient in gradients])
    return touched if touched.any() else None


def exclusive(touched: Tensor) -> bool:
    """Whether no two samples share an entry."""
    return bool((touched.sum(0) < 2).all())


def growing_dimension(shape: Shape, samples: int, smaller: Shape, fewer: int) -> int | None:
    """The one dimension of an output that grows with the batch, from its shapes for two batches; None if none does."""
    if len(shape) != len(smaller):
        return None
    different = [dim for dim, (many, few) in enumerate(zip(shape, smaller, strict=True)) if many != few]
    if len(different) == 1 and shape[different[0]] * fewer == smaller[different[0]] * samples:
        return different[0]
    return None


def candidate_axes(touched: Tensor, dims: Sequence[int] | None = None) -> Iterator[SampleAxis]:
    """The sample axes that agree with the entries that each sample touches.

    They are ordered by dimension, unfolded before folded.

    Args:
        touched: [N, *output.shape].
        dims: dimensions of the output to consider; all by default.
    """
    samples = len(touched)
    for dim, size in enumerate(touched.shape[1:]):
        if not size or size % samples or (dims is not None and dim not in dims):
            continue
        others = [other for other in range(1, touched.dim()) if other != dim + 1]
        by_row = touched.any(dim=others) if others else touched
        folds = size // samples
        for outer in (divisor for divisor in range(1, folds + 1) if folds % divisor == 0):
            # [sample of the loss, sample of the row]
            crossed = by_row.unflatten(1, (outer, samples, folds // outer)).any(3).any(1)
            if not crossed.fill_diagonal_(False).any():
                yield SampleAxis(dim, outer, folds // outer)
