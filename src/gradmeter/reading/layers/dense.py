"""Dense layers: a product of the data and a matrix of parameters, plus a bias."""

from __future__ import annotations

from torch import Tensor

from gradmeter.reading.capture import Operation
from gradmeter.reading.layers.broadcasting import summed_to_input
from gradmeter.reading.layers.gradients import Dense, Direct, PerSampleGradient
from gradmeter.reading.layers.registry import register_rule


def _positions(operation: Operation, tensor: Tensor, *, rows_first: bool) -> Tensor:
    """A matrix with samples and positions along one dimension, as [N, T, features]."""
    rows = operation.positions(tensor)
    return rows if rows_first else rows.transpose(1, 2)


def _product(
    operation: Operation, delta: Tensor, left: int, right: int, names: tuple[str, str]
) -> dict[int, PerSampleGradient]:
    """Gradients of the factors of left @ right; samples lie along the rows of left or the columns of right."""
    gradients: dict[int, PerSampleGradient] = {}
    if right in operation.inputs and operation.axis.dim == 0:
        activation = _positions(operation, operation.saved(names[0]).conj(), rows_first=True)
        gradients[right] = Dense(activation, _positions(operation, delta, rows_first=True))
    if left in operation.inputs and operation.axis.dim == 1:
        activation = _positions(operation, operation.saved(names[1]).conj(), rows_first=False)
        gradients[left] = Dense(_positions(operation, delta, rows_first=False), activation)
    return gradients


@register_rule("AddmmBackward0")
def addmm(operation: Operation) -> dict[int, PerSampleGradient]:
    """beta * bias + alpha * data @ weight."""
    gradients = _product(operation, operation.scaled("alpha"), 1, 2, ("mat1", "mat2"))
    if 0 in operation.inputs:
        gradients.update(summed_to_input(operation, 0, operation.scaled("beta")))
    return gradients


@register_rule("MmBackward0")
def mm(operation: Operation) -> dict[int, PerSampleGradient]:
    """data @ weight."""
    return _product(operation, operation.delta, 0, 1, ("self", "mat2"))


def _linear(operation: Operation, data: str) -> dict[int, PerSampleGradient]:
    """data @ weight.T + bias in one operation, with the features along the last dimension."""
    if operation.axis.dim == operation.delta.dim() - 1:
        return {}
    gradients: dict[int, PerSampleGradient] = {}
    if 1 in operation.inputs:
        delta, activation = (
            operation.positions(tensor).flatten(1, -2) for tensor in (operation.delta, operation.saved(data))
        )
        gradients[1] = Dense(delta, activation)
    if 2 in operation.inputs:
        gradients.update(summed_to_input(operation, 2))
    return gradients


@register_rule("LinearBackward0")
def linear(operation: Operation) -> dict[int, PerSampleGradient]:
    """A dense layer on Apple's GPUs."""
    return _linear(operation, "input")


@register_rule("MkldnnLinearBackward0")
def mkldnn_linear(operation: Operation) -> dict[int, PerSampleGradient]:
    """A dense layer on data in oneDNN's layout."""
    return _linear(operation, "self")


def _by_vector(operation: Operation, delta: Tensor, number: int, data: str) -> dict[int, PerSampleGradient]:
    """The gradient of the vector in data @ vector."""
    if number not in operation.inputs:
        return {}
    rows = operation.positions(operation.saved(data).conj())
    return {number: Direct((operation.positions(delta).unsqueeze(1) @ rows).squeeze(1))}


@register_rule("MvBackward0")
def mv(operation: Operation) -> dict[int, PerSampleGradient]:
    """data @ vector."""
    return _by_vector(operation, operation.delta, 1, "self")


@register_rule("AddmvBackward0")
def addmv(operation: Operation) -> dict[int, PerSampleGradient]:
    """beta * bias + alpha * data @ vector."""
    gradients = _by_vector(operation, operation.scaled("alpha"), 2, "mat")
    if 0 in operation.inputs:
        gradients.update(summed_to_input(operation, 0, operation.scaled("beta")))
    return gradients
