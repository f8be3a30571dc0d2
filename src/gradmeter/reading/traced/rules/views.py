"""Views and copies."""

from __future__ import annotations

import operator
import sys

import torch
from torch import Tensor

from gradmeter.reading.traced.rules.step import Gradients, Step, Unruled, register

_ATEN = torch.ops.aten


@register(_ATEN.clone.default, _ATEN._to_copy.default)
def _same(step: Step) -> Gradients:
    return {0: step.gradient.to(step.args[0].dtype)}


@register(operator.getitem)
def _first(step: Step) -> Gradients:
    if step.args[1]:
        raise Unruled("a further output")
    return {0: step.gradient}


@register(
    *(_ATEN.view.default, _ATEN.reshape.default, _ATEN._unsafe_view.default, _ATEN.flatten.using_ints),
    *(_ATEN.squeeze.dim, _ATEN.squeeze.dims, _ATEN.unsqueeze.default),
)
def _reshaped(step: Step) -> Gradients:
    return {0: step.gradient.reshape(step.args[0].shape)}


@register(_ATEN.permute.default)
def _permute(step: Step) -> Gradients:
    order = [dim % step.gradient.dim() for dim in step.args[1]]
    return {0: step.gradient.permute([order.index(dim) for dim in range(len(order))])}


@register(_ATEN.cat.default)
def _cat(step: Step) -> Gradients:
    tensors, dim = step.args[0], step.arg(1, 0)
    parts = step.gradient.split([tensor.shape[dim] for tensor in tensors], dim)
    return {(0, index): part for index, part in enumerate(parts)}


@register(_ATEN.constant_pad_nd.default)
def _pad(step: Step) -> Gradients:
    gradient, sides = step.gradient, step.args[1]
    for dim, (before, size) in enumerate(zip(sides[::2], reversed(step.args[0].shape), strict=False), 1):
        if before < 0 or sides[2 * dim - 1] < 0:
            raise Unruled("negative padding")
        gradient = gradient.narrow(-dim, before, size)
    return {0: gradient}


@register(_ATEN.expand.default)
def _expand(step: Step) -> Gradients:
    return {0: step.fitted(0, step.gradient)}


@register(_ATEN.slice.Tensor)
def _slice(step: Step) -> Gradients:
    inputs, dim = step.args[0], step.arg(1, 0)
    start, end, every = step.arg(2, None), step.arg(3, None), step.arg(4, 1)
    if start in (None, 0) and end in (None, sys.maxsize) and every == 1:
        return {0: step.gradient}
    return {0: _scattered(step, inputs, dim, range(_size(inputs, dim))[slice(start, end, every)])}


@register(_ATEN.select.int)
def _select(step: Step) -> Gradients:
    inputs, dim, index = step.args
    return {0: _scattered(step, inputs, dim, [index % _size(inputs, dim)])}


def _size(inputs: Tensor, dim: int) -> int:
    size = inputs.shape[dim]
    if not isinstance(size, int):
        raise Unruled("some of the samples")
    return size


def _scattered(step: Step, inputs: Tensor, dim: int, taken: range | list[int]) -> Tensor:
    """Return a gradient of the entries `taken` along one dimension, with zeros for all others."""
    kept = [*inputs.shape]
    kept[dim] = len(taken)
    gradient = step.gradient.reshape(kept)
    zeros = gradient.narrow(dim, 0, 1) * 0
    # The row of zeros stands for entries that were left out.
    rows = [taken.index(row) if row in taken else len(taken) for row in range(_size(inputs, dim))]
    return torch.cat([gradient, zeros], dim).index_select(dim, torch.tensor(rows))
