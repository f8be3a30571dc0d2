"""Dense layers: products of the data with a matrix of parameters, and a bias."""

from __future__ import annotations

from torch import Tensor

from gradmeter.capture import Operation
from gradmeter.layers.broadcasting import summed_to_input
from gradmeter.layers.gradients import Dense, PerSampleGradient
from gradmeter.layers.registry import measures


def _positions(operation: Operation, tensor: Tensor, *, rows_first: bool) -> Tensor:
    """A matrix with samples, and positions, along one of its dimensions as [N, T, features]."""
    rows = operation.rows(tensor)
    if rows_first:
        return rows.reshape(operation.samples, -1, tensor.shape[1])
    return rows.flatten(2).transpose(1, 2) if rows.dim() > 2 else rows.unsqueeze(1)


def _product(operation: Operation, left: int, right: int, names: tuple[str, str]) -> dict[int, PerSampleGradient]:
    """Gradients of the factors of left @ right, where samples lie along the rows of left or the columns of right."""
    gradients: dict[int, PerSampleGradient] = {}
    if right in operation.inputs and operation.axis.dim == 0:
        activation = _positions(operation, operation.saved(names[0]), rows_first=True)
        gradients[right] = Dense(activation, _positions(operation, operation.delta, rows_first=True))
    if left in operation.inputs and operation.axis.dim == 1:
        activation = _positions(operation, operation.saved(names[1]), rows_first=False)
        gradients[left] = Dense(_positions(operation, operation.delta, rows_first=False), activation)
    return gradients


@measures("AddmmBackward0")
def addmm(operation: Operation) -> dict[int, PerSampleGradient]:
    """bias + data @ weight."""
    if operation.saved("alpha") != 1 or operation.saved("beta") != 1:
        return {}
    gradients = _product(operation, 1, 2, ("mat1", "mat2"))
    if 0 in operation.inputs:
        gradients.update(summed_to_input(operation, 0))
    return gradients


@measures("MmBackward0")
def mm(operation: Operation) -> dict[int, PerSampleGradient]:
    """data @ weight."""
    return _product(operation, 0, 1, ("self", "mat2"))
