"""Parameters that are broadcast: their gradient is the sum over the broadcast dimensions."""

from __future__ import annotations

from torch import Tensor

from gradmeter.reading.capture import Operation
from gradmeter.reading.layers.gradients import Direct


def summed_to_input(operation: Operation, number: int, gradient: Tensor | None = None) -> dict[int, Direct]:
    """Sum a gradient over the dimensions along which an input was broadcast.

    Args:
        operation: operation whose output has the shape to which the input was broadcast.
        number: number of the input.
        gradient: gradient with respect to the broadcast input, laid out like the first output; by default the gradient
            of the output.

    Returns:
        The gradient [N, *input.shape] by the input's number; empty if the input is not broadcast along the samples.
    """
    shape = operation.size_of_input(number)
    axis, gradient = operation.axis, operation.delta if gradient is None else gradient
    aligned = (1,) * (gradient.dim() - len(shape)) + shape
    if aligned[axis.dim] != 1:
        return {}
    rows = operation.positions(gradient)
    broadcast = [dim + 1 for dim, size in enumerate(aligned) if size == 1 and rows.shape[dim + 1] != 1]
    if broadcast:
        rows = rows.sum(broadcast)
    if rows.is_complex() and not operation.input_metadata(number).dtype.is_complex:
        rows = rows.real
    return {number: Direct(rows.reshape(operation.samples, *shape))}
