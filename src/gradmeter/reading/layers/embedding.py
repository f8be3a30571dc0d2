"""Embeddings: rows of a table, looked up by index. The gradient of rows that a sample does not use is zero."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.capture import Operation, OwnedRows
from gradmeter.reading.kernels import reduction_bytes
from gradmeter.reading.layers.gradients import PerSampleGradient
from gradmeter.reading.layers.registry import register_rule
from gradmeter.reading.statistics import PowerSums

# PyTorch's numbers of the modes of an embedding bag.
_SUM, _MEAN = 0, 1


class LookedUp(PerSampleGradient):
    """The gradient of a table [V, D] or [V]: the gradient of a row is the sum over its occurrences.

    Args:
        index: [N, T] numbers of the rows.
        delta: [N, T, D], or [N, T] for a table [V]; gradient of the looked-up entries.
        size: V.
    """

    def __init__(self, index: Tensor, delta: Tensor, size: int) -> None:
        self.shape = (size, *delta.shape[2:])
        self.index, self.delta, self.size = index, delta.unsqueeze(2) if delta.dim() == 2 else delta, size
        self.samples = len(index)
        self.bytes_per_sample = reduction_bytes(math.prod(self.shape), delta)

    def materialise(self, rows: slice) -> Tensor:
        """Materialise the gradients of some samples, [n, V, D] or [n, V]."""
        delta, index = self.delta[rows], self.index[rows]
        table = delta.new_zeros(len(delta), self.size, delta.shape[2])
        # PyTorch 2.6 scatters by 64-bit indices only.
        index = index.long().unsqueeze(2).expand_as(delta)
        return table.scatter_add_(1, index, delta).reshape(-1, *self.shape)

    def power_sums(self) -> PowerSums:
        """The power sums, from the used rows only: zeros change the count and the extremes, but not the sums."""
        index, order = self.index.sort(dim=1)
        delta = self.delta.gather(1, order.unsqueeze(2).expand_as(self.delta)).double()
        is_first = torch.ones_like(index, dtype=torch.bool)
        is_first[:, 1:] = index[:, 1:] != index[:, :-1]
        slot = is_first.cumsum(1) - 1
        rows = torch.zeros_like(delta).scatter_add_(1, slot.unsqueeze(2).expand_as(delta), delta)
        used = slot[:, -1] + 1
        # Fill empty slots with the first row's entries, which does not change the extremes.
        empty = torch.arange(rows.shape[1], device=rows.device) >= used.unsqueeze(1)
        filled = torch.where(empty.unsqueeze(2), rows[:, :1], rows).flatten(1)
        minimum, maximum = filled.amin(1), filled.amax(1)
        complete = used == self.size
        extremes = [
            torch.where(complete, minimum, minimum.clamp(max=0)),
            torch.where(complete, maximum, maximum.clamp(min=0)),
        ]
        numbers = torch.cat([PowerSums.of(rows).numbers[:, :5], torch.stack(extremes, dim=1)], dim=1)
        return PowerSums(self.size * self.delta.shape[2], numbers)


@register_rule("EmbeddingBackward0")
def embedding(operation: Operation) -> dict[int, PerSampleGradient]:
    """Rows of a table [V, D]; the row of padding_idx has no gradient."""
    index, delta = operation.saved("indices"), operation.delta
    scaled = operation.saved("scale_grad_by_freq")
    if operation.axis.dim >= index.dim() or (scaled and isinstance(operation.axis, OwnedRows)):
        return {}
    size, width = operation.size_of_input(0)
    if (padding := _index(operation.saved("padding_idx"))) is not None:
        delta = delta.masked_fill((index == padding).unsqueeze(-1), 0)
    index = operation.rows(index).reshape(operation.samples, -1)
    delta = operation.rows(delta).reshape(operation.samples, -1, width)
    if scaled:
        # Divide by the number of occurrences of a row in this sample, not in the batch.
        delta = delta / (index.unsqueeze(1) == index.unsqueeze(2)).sum(2, keepdim=True)
    return {0: LookedUp(index, delta, size)}


@register_rule("EmbeddingBagBackward0")
def embedding_bag(operation: Operation) -> dict[int, PerSampleGradient]:
    """Sums or means of rows; the maximum, and weights that need a gradient, are left to autograd.

    Raises:
        UnsupportedModelError: if gradients are scaled by the frequency of a row.
    """
    if operation.saved("scale_grad_by_freq"):
        raise UnsupportedModelError(
            "an EmbeddingBag scales gradients by the frequency of a row in the batch, so per-sample gradients are "
            "undefined; expected scale_grad_by_freq=False"
        )
    mode = operation.saved("mode")
    if operation.inputs != (0,) or operation.axis.dim != 0 or mode not in (_SUM, _MEAN):
        return {}
    index, offsets, weights = (operation.saved(name) for name in ("indices", "offsets", "per_sample_weights"))
    position = torch.arange(len(index), device=offsets.device, dtype=offsets.dtype)
    bag = torch.searchsorted(offsets, position, right=True) - 1
    delta = operation.delta
    if mode == _MEAN:
        delta = delta / operation.saved("result2").clamp(min=1).unsqueeze(1)
    delta = delta[bag]
    if weights is not None:
        delta = delta * weights.unsqueeze(1)
    delta = delta.masked_fill((index == operation.saved("padding_idx")).unsqueeze(1), 0)
    owners = operation.axis.owners_along(len(operation.delta), operation.samples).to(bag.device)
    rows = OwnedRows(0, owners[bag], operation.samples)
    index, delta = (rows.positions(tensor, operation.samples) for tensor in (index, delta))
    return {0: LookedUp(index, delta, operation.size_of_input(0)[0])}


def _looked_up(operation: Operation, index: Tensor) -> dict[int, PerSampleGradient]:
    """Rows of a parameter, for an index whose dimensions come first in the output."""
    shape = operation.size_of_input(0)
    if operation.axis.dim >= index.dim() or len(shape) > 2:
        return {}
    delta = operation.positions(operation.delta)
    delta = delta.flatten(1, -2) if len(shape) > 1 else delta.flatten(1)
    return {0: LookedUp(operation.positions(index % shape[0]).flatten(1), delta, shape[0])}


@register_rule("IndexBackward0")
def indexed(operation: Operation) -> dict[int, PerSampleGradient]:
    """table[index] with an index that depends on the sample."""
    index, *further = operation.saved("indices")
    if index is None or index.dtype == torch.bool or any(other is not None for other in further):
        return {}
    return _looked_up(operation, index)


@register_rule("IndexSelectBackward0")
def index_select(operation: Operation) -> dict[int, PerSampleGradient]:
    """Rows of a table."""
    return {} if operation.saved("dim") else _looked_up(operation, operation.saved("index"))


def _index(saved: int) -> int | None:
    """The index that autograd saved; None for -1, which it stores as an unsigned number."""
    return saved if 0 <= saved < 2**63 else None
