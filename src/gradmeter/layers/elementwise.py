"""Parameters that act entry by entry: scales, shifts, tokens and positions that a network adds or multiplies."""

from __future__ import annotations

import torch

from gradmeter.capture import Operation
from gradmeter.layers.broadcasting import summed_to_input
from gradmeter.layers.gradients import PerSampleGradient
from gradmeter.layers.registry import measures


@measures("ExpandBackward0")
def expand(operation: Operation) -> dict[int, PerSampleGradient]:
    """One tensor for all samples, such as a class token."""
    return {**summed_to_input(operation, 0)}


@measures("AddBackward0")
def add(operation: Operation) -> dict[int, PerSampleGradient]:
    """left + alpha * right."""
    gradients: dict[int, PerSampleGradient] = {}
    if 0 in operation.inputs:
        gradients.update(summed_to_input(operation, 0))
    if 1 in operation.inputs:
        gradients.update(summed_to_input(operation, 1, operation.delta * operation.saved("alpha")))
    return gradients


@measures("SubBackward0")
def subtract(operation: Operation) -> dict[int, PerSampleGradient]:
    """left - alpha * right."""
    gradients: dict[int, PerSampleGradient] = {}
    if 0 in operation.inputs:
        gradients.update(summed_to_input(operation, 0))
    if 1 in operation.inputs:
        gradients.update(summed_to_input(operation, 1, -operation.delta * operation.saved("alpha")))
    return gradients


@measures("MulBackward0")
def multiply(operation: Operation) -> dict[int, PerSampleGradient]:
    """left * right."""
    gradients: dict[int, PerSampleGradient] = {}
    for number, other in ((0, "other"), (1, "self")):
        if number in operation.inputs:
            gradients.update(summed_to_input(operation, number, operation.delta * operation.saved(other).conj()))
    return gradients


@measures("PreluKernelBackward0")
def prelu(operation: Operation) -> dict[int, PerSampleGradient]:
    """The slope acts where the input is negative."""
    if 1 not in operation.inputs:
        return {}
    negative = torch.clamp(operation.saved("self"), max=0)
    return {**summed_to_input(operation, 1, negative * operation.delta)}
