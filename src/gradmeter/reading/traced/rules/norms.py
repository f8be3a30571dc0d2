"""Normalisations."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmeter.reading.traced.rules.step import Gradients, Step, register
from gradmeter.reading.traced.sums import Direct

_ATEN = torch.ops.aten


@register(_ATEN._native_batch_norm_legit_no_training.default)
def _batch_norm(step: Step) -> Gradients:
    inputs, weight, _, mean, variance, _, epsilon = step.args
    step.require_samples_first()
    shape = (1, -1, *(1,) * (inputs.dim() - 2))
    factor = (variance + epsilon).rsqrt()
    delta = step.gradient
    gradients: Gradients = {0: delta * (factor if weight is None else factor * weight).view(shape)}
    if 1 in step.needed:
        centred = (inputs - mean.view(shape)) * delta
        gradients[1] = Direct(centred.reshape(*inputs.shape[:2], -1).sum(2) * factor)
    if 2 in step.needed:
        gradients[2] = Direct(delta.reshape(*inputs.shape[:2], -1).sum(2))
    return gradients


@register(_ATEN.native_layer_norm.default)
def _layer_norm(step: Step) -> Gradients:
    inputs, shape, weight, _, epsilon = step.args
    dims = [*range(-len(shape), 0)]
    delta = step.gradient
    if len(shape) > 1:
        step.require_samples_first()
    normal, factor = _normalised(inputs, dims, epsilon)
    gradients: Gradients = {}
    if 0 in step.needed:
        gradients[0] = _centred(delta if weight is None else delta * weight, normal, dims) * factor
    if 2 in step.needed:
        gradients[2] = Direct(_summed(step.samples_first(delta * normal), len(shape)))
    if 3 in step.needed:
        gradients[3] = Direct(_summed(step.samples_first(delta), len(shape)))
    return gradients


@register(_ATEN.native_group_norm.default)
def _group_norm(step: Step) -> Gradients:
    inputs, weight, _, _, channels, _, groups, epsilon = step.args
    step.require_samples_first()
    # [N, groups, channels of a group, positions]
    grouped = inputs.reshape(inputs.shape[0], groups, channels // groups, -1)
    delta = step.gradient.reshape(grouped.shape)
    normal, factor = _normalised(grouped, [2, 3], epsilon)
    gradients: Gradients = {}
    if 0 in step.needed:
        scaled = delta if weight is None else delta * weight.view(groups, channels // groups, 1)
        gradients[0] = (_centred(scaled, normal, [2, 3]) * factor).reshape(inputs.shape)
    if 1 in step.needed:
        gradients[1] = Direct((delta * normal).sum(3).flatten(1))
    if 2 in step.needed:
        gradients[2] = Direct(delta.sum(3).flatten(1))
    return gradients


def _normalised(inputs: Tensor, dims: list[int], epsilon: float) -> tuple[Tensor, Tensor]:
    """Return the inputs with mean 0 and variance 1 over some dimensions, and what they were multiplied with."""
    centred = inputs - inputs.mean(dims, keepdim=True)
    factor = ((centred * centred).mean(dims, keepdim=True) + epsilon).rsqrt()
    return centred * factor, factor


def _centred(delta: Tensor, normal: Tensor, dims: list[int]) -> Tensor:
    """Return the part of a gradient that neither the mean nor the variance takes away."""
    return delta - delta.mean(dims, keepdim=True) - normal * (delta * normal).mean(dims, keepdim=True)


def _summed(values: Tensor, kept: int) -> Tensor:
    """Sum [N, ..., shape] over all axes but the first and the last `kept`, and flatten to [N, K]."""
    dims = [*range(1, values.dim() - kept)]
    return (values.sum(dims) if dims else values).flatten(1)
