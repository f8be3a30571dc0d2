"""The backward pass of ATen operations, written in operations that ONNX has.

PyTorch's own backward operations, such as `convolution_backward`, have no counterpart in ONNX. A rule gets the gradient
of an operation's output and returns those of its arguments. All tensors have the samples along their first axis.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gradmeter.reading.traced.sums import Direct, ParameterGradient, Product

Gradients = dict[Any, Tensor | ParameterGradient]
"""Gradients by the index of the argument; by (0, index) for the tensors of a list that is the first argument."""


class Unruled(Exception):
    """A rule does not hold for these arguments; the text says for which."""


@dataclass(frozen=True, eq=False)
class Step:
    """One operation of the forward pass, and the gradient that arrives at it.

    Attributes:
        args: values of its arguments; missing ones are not filled in.
        kwargs: values of its named arguments.
        output: its value.
        gradient: of its output, or of the first of several outputs.
        needed: indices of the arguments that need a gradient.
    """

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    output: Any
    gradient: Tensor
    needed: frozenset[int]

    def arg(self, index: int, default: Any) -> Any:
        """The value of an optional argument."""
        return self.args[index] if len(self.args) > index else default


Rule = Callable[[Step], Gradients]
RULES: dict[Any, Rule] = {}
"""Rules by operation."""

_ATEN = torch.ops.aten


def _rule(*operations: Any) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(operations, rule))
        return rule

    return register


# Layers


@_rule(_ATEN.convolution.default)
def _convolution(step: Step) -> Gradients:
    images, weight, bias, stride, padding, dilation, transposed, _, groups = step.args
    if transposed:
        raise Unruled("a transposed convolution")
    delta, kernel = step.gradient, tuple(weight.shape[2:])
    stride, padding, dilation = (_each(values, kernel) for values in (stride, padding, dilation))
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
    if bias is not None and 2 in step.needed:
        gradients[2] = Direct(delta.flatten(2).sum(2))
    return gradients


def _each(values: Sequence[int], dims: Sequence[int]) -> Sequence[int]:
    """One value for each dimension: a single one holds for all."""
    return values if len(values) == len(dims) else [values[0]] * len(dims)


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


@_rule(_ATEN.linear.default)
def _linear(step: Step) -> Gradients:
    inputs, weight = step.args[:2]
    delta = step.gradient
    rows = (delta.flatten(1, -2), inputs.flatten(1, -2)) if inputs.dim() > 2 else (delta[:, None], inputs[:, None])
    gradients: Gradients = {0: delta @ weight, 1: Product(*(row.transpose(1, 2)[:, None] for row in rows))}
    if 2 in step.needed:
        gradients[2] = Direct(rows[0].sum(1))
    return gradients


@_rule(_ATEN._native_batch_norm_legit_no_training.default)
def _batch_norm(step: Step) -> Gradients:
    inputs, weight, bias, mean, variance, _, epsilon = step.args
    shape = (1, -1, *(1,) * (inputs.dim() - 2))
    factor = (variance + epsilon).rsqrt()
    delta = step.gradient
    gradients: Gradients = {0: delta * (factor if weight is None else factor * weight).view(shape)}
    if weight is not None:
        centred = (inputs - mean.view(shape)) * delta
        gradients[1] = Direct(centred.reshape(*inputs.shape[:2], -1).sum(2) * factor)
    if bias is not None:
        gradients[2] = Direct(delta.reshape(*inputs.shape[:2], -1).sum(2))
    return gradients


# Pooling


@_rule(_ATEN.max_pool2d_with_indices.default)
def _max_pool(step: Step) -> Gradients:
    images, (_, indices) = step.args[0], step.output
    zeros = torch.zeros_like(images).flatten(2)
    return {0: zeros.scatter_add(2, indices.flatten(2), step.gradient.flatten(2)).view(images.shape)}


@_rule(_ATEN.avg_pool2d.default)
def _average_pool(step: Step) -> Gradients:
    images, dims = step.args[0], step.args[0].shape[2:]
    kernel = _each(step.args[1], dims)
    stride, padding = _each(step.arg(2, []) or kernel, dims), _each(step.arg(3, (0,)), dims)
    if any(padding) and not step.arg(5, True):
        raise Unruled("padding that is not counted")
    if step.arg(4, False):
        raise Unruled("windows beyond the image")
    return {0: _spread(step.gradient, images, kernel, stride, padding, step.arg(6, None) or math.prod(kernel))}


@_rule(_ATEN._adaptive_avg_pool2d.default)
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


@_rule(_ATEN.mean.dim)
def _mean(step: Step) -> Gradients:
    inputs, dims = step.args[:2]
    return {0: _over(step) / math.prod(inputs.shape[dim] for dim in dims)}


@_rule(_ATEN.sum.dim_IntList)
def _sum(step: Step) -> Gradients:
    return {0: _over(step)}


def _over(step: Step) -> Tensor:
    """Return the gradient of the input of a sum over some dimensions."""
    inputs, dims = step.args[:2]
    kept = [1 if dim in {d % inputs.dim() for d in dims} else size for dim, size in enumerate(inputs.shape)]
    return step.gradient.reshape(kept).expand(inputs.shape)


# Functions of each entry


@_rule(_ATEN.relu.default)
def _relu(step: Step) -> Gradients:
    return {0: torch.where(step.output > 0, step.gradient, 0.0)}


@_rule(_ATEN.leaky_relu.default)
def _leaky_relu(step: Step) -> Gradients:
    return {0: torch.where(step.args[0] > 0, step.gradient, step.gradient * step.arg(1, 0.01))}


@_rule(_ATEN.hardtanh.default)
def _hardtanh(step: Step) -> Gradients:
    inputs, least, most = step.args[0], step.arg(1, -1.0), step.arg(2, 1.0)
    return {0: torch.where((inputs > least) & (inputs < most), step.gradient, 0.0)}


@_rule(_ATEN.clamp.default)
def _clamp(step: Step) -> Gradients:
    inputs, least, most = step.args[0], step.arg(1, None), step.arg(2, None)
    gradient = step.gradient
    gradient = gradient if least is None else torch.where(inputs >= least, gradient, 0.0)
    gradient = gradient if most is None else torch.where(inputs <= most, gradient, 0.0)
    return {0: gradient}


@_rule(_ATEN.sigmoid.default)
def _sigmoid(step: Step) -> Gradients:
    return {0: step.gradient * step.output * (1 - step.output)}


@_rule(_ATEN.tanh.default)
def _tanh(step: Step) -> Gradients:
    return {0: step.gradient * (1 - step.output * step.output)}


@_rule(_ATEN.neg.default)
def _neg(step: Step) -> Gradients:
    return {0: -step.gradient}


# Functions of two tensors


@_rule(_ATEN.add.Tensor, _ATEN.add.Scalar)
def _add(step: Step) -> Gradients:
    return _fitted(step, step.gradient, step.gradient)


@_rule(_ATEN.sub.Tensor, _ATEN.sub.Scalar)
def _sub(step: Step) -> Gradients:
    return _fitted(step, step.gradient, -step.gradient)


@_rule(_ATEN.mul.Tensor, _ATEN.mul.Scalar)
def _mul(step: Step) -> Gradients:
    return _fitted(step, step.gradient * step.args[1], step.gradient * step.args[0])


@_rule(_ATEN.div.Tensor, _ATEN.div.Scalar)
def _div(step: Step) -> Gradients:
    return _fitted(step, step.gradient / step.args[1], -step.gradient * step.output / step.args[1])


def _fitted(step: Step, *gradients: Tensor) -> Gradients:
    """Sum the gradients of two arguments over the dimensions along which these were repeated."""
    if step.kwargs.get("alpha", 1) != 1:
        raise Unruled("a factor")
    fitted: Gradients = {}
    for index in step.needed:
        like, gradient = step.args[index], gradients[index]
        if like.dim() != gradient.dim():
            raise Unruled("tensors with different numbers of dimensions")
        repeated = [dim for dim in range(1, like.dim()) if like.shape[dim] == 1 and gradient.shape[dim] != 1]
        fitted[index] = gradient.sum(repeated, keepdim=True) if repeated else gradient
    return fitted


# Views and copies


@_rule(_ATEN.clone.default, _ATEN._to_copy.default)
def _same(step: Step) -> Gradients:
    return {0: step.gradient.to(step.args[0].dtype)}


@_rule(operator.getitem)
def _first(step: Step) -> Gradients:
    if step.args[1]:
        raise Unruled("a further output")
    return {0: step.gradient}


@_rule(
    *(_ATEN.view.default, _ATEN.reshape.default, _ATEN._unsafe_view.default, _ATEN.flatten.using_ints),
    *(_ATEN.squeeze.dim, _ATEN.squeeze.dims, _ATEN.unsqueeze.default),
)
def _reshaped(step: Step) -> Gradients:
    return {0: step.gradient.reshape(step.args[0].shape)}


@_rule(_ATEN.permute.default)
def _permute(step: Step) -> Gradients:
    order = [dim % step.gradient.dim() for dim in step.args[1]]
    return {0: step.gradient.permute([order.index(dim) for dim in range(len(order))])}


@_rule(_ATEN.cat.default)
def _cat(step: Step) -> Gradients:
    tensors, dim = step.args[0], step.arg(1, 0)
    parts = step.gradient.split([tensor.shape[dim] for tensor in tensors], dim)
    return {(0, index): part for index, part in enumerate(parts)}


@_rule(_ATEN.constant_pad_nd.default)
def _pad(step: Step) -> Gradients:
    gradient, sides = step.gradient, step.args[1]
    for dim, (before, size) in enumerate(zip(sides[::2], reversed(step.args[0].shape), strict=False), 1):
        if before < 0 or sides[2 * dim - 1] < 0:
            raise Unruled("negative padding")
        gradient = gradient.narrow(-dim, before, size)
    return {0: gradient}


@_rule(_ATEN.slice.Tensor)
def _slice(step: Step) -> Gradients:
    inputs, dim = step.args[0], step.arg(1, 0)
    if not dim % inputs.dim():
        return {0: step.gradient}  # of all samples
    start, end, every = step.arg(2, None), step.arg(3, None), step.arg(4, 1)
    taken = range(inputs.shape[dim])[slice(start, end, every)]
    zeros = step.gradient.narrow(dim, 0, 1) * 0
    # The row of zeros stands for entries that were left out.
    rows = [taken.index(row) if row in taken else len(taken) for row in range(inputs.shape[dim])]
    return {0: torch.cat([step.gradient, zeros], dim).index_select(dim, torch.tensor(rows))}
