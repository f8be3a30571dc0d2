"""Elementwise parameters: scales, shifts, tokens and position embeddings that a network adds or multiplies."""

from __future__ import annotations

import torch

from gradmeter.reading.capture import Operation, OwnedRows
from gradmeter.reading.layers.broadcasting import summed_to_input
from gradmeter.reading.layers.gradients import Direct, PerSampleGradient
from gradmeter.reading.layers.registry import register_rule


@register_rule("ExpandBackward0")
def expand(operation: Operation) -> dict[int, PerSampleGradient]:
    """One tensor for all samples, such as a class token."""
    return {**summed_to_input(operation, 0)}


@register_rule("RepeatBackward0")
def repeat(operation: Operation) -> dict[int, PerSampleGradient]:
    """One tensor repeated for all samples, such as the scale of an instance norm."""
    axis, repeats = operation.axis, operation.saved("repeats")
    shape = operation.size_of_input(0)
    sizes = (1,) * (len(repeats) - len(shape)) + shape
    if sizes[axis.dim] != 1 and (isinstance(axis, OwnedRows) or axis.inner % sizes[axis.dim]):
        return {}
    rows = operation.positions(operation.delta)
    for dim, size in enumerate(sizes):
        rows = rows.unflatten(dim + 1, (-1, size)).sum(dim + 1)
    return {0: Direct(rows.reshape(operation.samples, *shape))}


@register_rule("AddBackward0")
def add(operation: Operation) -> dict[int, PerSampleGradient]:
    """left + alpha * right."""
    gradients: dict[int, PerSampleGradient] = {}
    if 0 in operation.inputs:
        gradients.update(summed_to_input(operation, 0))
    if 1 in operation.inputs:
        gradients.update(summed_to_input(operation, 1, operation.delta * operation.saved("alpha").conjugate()))
    return gradients


@register_rule("SubBackward0")
def subtract(operation: Operation) -> dict[int, PerSampleGradient]:
    """left - alpha * right."""
    gradients: dict[int, PerSampleGradient] = {}
    if 0 in operation.inputs:
        gradients.update(summed_to_input(operation, 0))
    if 1 in operation.inputs:
        gradients.update(summed_to_input(operation, 1, -operation.delta * operation.saved("alpha").conjugate()))
    return gradients


@register_rule("MulBackward0")
def multiply(operation: Operation) -> dict[int, PerSampleGradient]:
    """left * right."""
    gradients: dict[int, PerSampleGradient] = {}
    for number, other in ((0, "other"), (1, "self")):
        if number in operation.inputs:
            gradients.update(summed_to_input(operation, number, operation.delta * operation.saved(other).conj()))
    return gradients


@register_rule("PreluKernelBackward0")
def prelu(operation: Operation) -> dict[int, PerSampleGradient]:
    """PReLU: the slope multiplies negative inputs."""
    if 1 not in operation.inputs:
        return {}
    negative = torch.clamp(operation.saved("self"), max=0)
    return {**summed_to_input(operation, 1, negative * operation.delta)}
