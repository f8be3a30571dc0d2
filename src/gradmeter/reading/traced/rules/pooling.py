"""Pooling, means and sums."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gradmeter.reading.traced.rules.step import Gradients, Step, Unruled, each, register

_ATEN = torch.ops.aten


@register(_ATEN.max_pool2d_with_indices.default)
def _max_pool(step: Step) -> Gradients:
    images, (_, indices) = step.args[0], step.output
    zeros = torch.zeros_like(images).flatten(2)
    return {0: zeros.scatter_add(2, indices.flatten(2), step.gradient.flatten(2)).view(images.shape)}


@register(_ATEN.avg_pool2d.default)
def _average_pool(step: Step) -> Gradients:
    images, dims = step.args[0], step.args[0].shape[2:]
    kernel = each(step.args[1], dims)
    stride, padding = each(step.arg(2, []) or kernel, dims), each(step.arg(3, (0,)), dims)
    if any(padding) and not step.arg(5, True):
        raise Unruled("padding that is not counted")
    if step.arg(4, False):
        raise Unruled("windows beyond the image")
    return {0: _spread(step.gradient, images, kernel, stride, padding, step.arg(6, None) or math.prod(kernel))}


@register(_ATEN._adaptive_avg_pool2d.default)
def _adaptive_average_pool(step: Step) -> Gradients:
    images, sizes = step.args
    kernel = [size // out for size, out in zip(images.shape[2:], sizes, strict=True)]
    if any(size % out for size, out in zip(images.shape[2:], sizes, strict=True)):
        raise Unruled("windows of different sizes")
    return {0: _spread(step.gradient, images, kernel, kernel, (0, 0), math.prod(kernel))}


def _spread(
    delta: Tensor, images: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], divisor: int
) -> Tensor:
    """Return the gradient of the input of an average over windows."""
    rest = [
        size - ((out - 1) * s - 2 * p + k)
        for size, out, k, s, p in zip(images.shape[2:], delta.shape[2:], kernel, stride, padding, strict=True)
    ]
    ones = delta.new_ones(1, 1, *kernel) / divisor
    # One channel at a time has the same kernel.
    planes = F.conv_transpose2d(delta.flatten(0, 1)[:, None], ones, None, stride, padding, rest)
    return planes.view(images.shape)


@register(_ATEN.mean.dim)
def _mean(step: Step) -> Gradients:
    inputs, dims = step.args[:2]
    return {0: _over(step) / math.prod(inputs.shape[dim] for dim in dims)}


@register(_ATEN.sum.dim_IntList)
def _sum(step: Step) -> Gradients:
    return {0: _over(step)}


def _over(step: Step) -> Tensor:
    """Return the gradient of the input of a sum over some dimensions."""
    inputs, dims = step.args[:2]
    kept = [1 if dim in {d % inputs.dim() for d in dims} else size for dim, size in enumerate(inputs.shape)]
    return step.gradient.reshape(kept).expand(inputs.shape)
