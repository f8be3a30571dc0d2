"""Batched matrix products, with one matrix of parameters per head or expert."""

from __future__ import annotations

from torch import Tensor

from gradmeter.reading.capture import Operation
from gradmeter.reading.kernels.geometry import POINT, Geometry
from gradmeter.reading.layers.broadcasting import summed_to_input
from gradmeter.reading.layers.gradients import Correlation, PerSampleGradient
from gradmeter.reading.layers.registry import register_rule


def _features_by_position(operation: Operation, tensor: Tensor) -> Tensor:
    """[N, groups * features, T] from [groups, samples and positions, features] or its transpose."""
    rows = operation.positions(tensor)
    return (rows.transpose(2, 3) if operation.axis.dim == 1 else rows).flatten(1, 2)


def _product(
    operation: Operation, delta: Tensor, left: int, right: int, names: tuple[str, str]
) -> dict[int, PerSampleGradient]:
    """Gradients of the factors of left @ right; samples lie along the rows of left or the columns of right."""
    number, other = (right, names[0]) if operation.axis.dim == 1 else (left, names[1])
    if operation.axis.dim == 0 or number not in operation.inputs:
        return {}
    delta = _features_by_position(operation, delta)
    data = _features_by_position(operation, operation.saved(other).conj())
    shape = operation.size_of_input(number)
    geometry = Geometry(POINT.kernel, POINT.stride, POINT.dilation, POINT.padding, groups=shape[0])
    factors = (data, delta) if number == right else (delta, data)
    return {number: Correlation(*factors, geometry, shape)}


@register_rule("BmmBackward0")
def bmm(operation: Operation) -> dict[int, PerSampleGradient]:
    """[groups, n, k] @ [groups, k, m], for example einsum with one weight per head."""
    return _product(operation, operation.delta, 0, 1, ("self", "mat2"))


@register_rule("BaddbmmBackward0")
def baddbmm(operation: Operation) -> dict[int, PerSampleGradient]:
    """beta * bias + alpha * [groups, n, k] @ [groups, k, m]."""
    gradients = _product(operation, operation.scaled("alpha"), 1, 2, ("batch1", "batch2"))
    if 0 in operation.inputs:
        gradients.update(summed_to_input(operation, 0, operation.scaled("beta")))
    return gradients
