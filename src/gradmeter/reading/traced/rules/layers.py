"""Convolutions and dense layers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gradmeter.reading.traced.rules.step import Gradients, Step, Unruled, each, register
from gradmeter.reading.traced.sums import Direct, Product

_ATEN = torch.ops.aten


@register(_ATEN.convolution.default)
def _convolution(step: Step) -> Gradients:
    images, weight, _, stride, padding, dilation, transposed, _, groups = step.args
    if transposed:
        raise Unruled("a transposed convolution")
    step.require_samples_first()
    delta, kernel = step.gradient, tuple(weight.shape[2:])
    stride, padding, dilation = (each(values, kernel) for values in (stride, padding, dilation))
    gradients: Gradients = {}
    if 0 in step.needed:
        inverse = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(kernel) - 1]
        rest = [
            size - ((out - 1) * s - 2 * p + d * (k - 1) + 1)
            for size, out, k, s, p, d in zip(
                images.shape[2:], delta.shape[2:], kernel, stride, padding, dilation, strict=True
            )
        ]
        gradients[0] = inverse(delta, weight, None, stride, padding, rest, groups, dilation)
    if 1 in step.needed:
        windows = _windows(images, kernel, stride, padding, dilation, tuple(delta.shape[2:]))
        gradients[1] = Product(
            delta.flatten(2).unflatten(1, (groups, -1)), windows.flatten(1, 2).unflatten(1, (groups, -1))
        )
    if 2 in step.needed:
        gradients[2] = Direct(delta.flatten(2).sum(2))
    return gradients


def _windows(
    images: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    out: Sequence[int],
) -> Tensor:
    """Return what each entry of a kernel is multiplied with, [N, channels, entries, positions]."""
    padded = F.pad(images, [side for size in reversed(padding) for side in (size, size)]) if any(padding) else images
    shifted = []
    for offsets in itertools.product(*map(range, kernel)):
        part = padded
        for dim, (offset, size, s, d) in enumerate(zip(offsets, out, stride, dilation, strict=True), 2):
            part = part[(slice(None),) * dim + (slice(d * offset, d * offset + s * (size - 1) + 1, s),)]
        shifted.append(part.flatten(2))
    return torch.stack(shifted, dim=2)


@register(_ATEN.linear.default)
def _linear(step: Step) -> Gradients:
    gradients: Gradients = {}
    if 0 in step.needed:
        gradients[0] = step.gradient @ step.args[1]
    if 1 in step.needed:
        gradients[1] = Product(_rows(step, step.gradient), _rows(step, step.args[0]))
    if 2 in step.needed:
        gradients[2] = Direct(_rows(step, step.gradient)[:, 0].sum(2))
    return gradients


@register(_ATEN.mm.default)
def _matrix_product(step: Step) -> Gradients:
    """[N T, K] times a weight [K, M]."""
    if 0 in step.parameters:
        raise Unruled("a parameter as its first argument")
    gradients: Gradients = {0: step.gradient @ step.args[1].T}
    if 1 in step.needed:
        gradients[1] = Product(_rows(step, step.args[0]), _rows(step, step.gradient))
    return gradients


def _rows(step: Step, values: Tensor) -> Tensor:
    """Return the channels at all positions of each sample, [N, 1, channels, positions]."""
    values = step.samples_first(values)
    rows = values.flatten(1, -2) if values.dim() > 2 else values[:, None]
    return rows.transpose(1, 2)[:, None]
