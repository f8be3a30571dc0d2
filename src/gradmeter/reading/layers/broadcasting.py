"""Parameters that are spread over a larger tensor: their gradient is a sum over what they were spread over."""

from __future__ import annotations

from torch import Tensor

from gradmeter.reading.capture import Operation
from gradmeter.reading.layers.gradients import Direct


def summed_to_input(operation: Operation, number: int, gradient: Tensor | None = None) -> dict[int, Direct]:
    """Sum the gradient of an output over all that one input was broadcast to.

    Args:
        operation: whose output has the shape to which the input was broadcast.
        number: of the input.
        gradient: by the broadcast input, laid out like the first output; the output's own where left out.

    Returns:
        The gradient [N, *input.shape] by the input's number; nothing where the input is spread over the samples in
        another way.
    """
    shape = operation.size_of_input(number)
    axis, gradient = operation.axis, operation.delta if gradient is None else gradient
    aligned = (1,) * (gradient.dim() - len(shape)) + shape
    if aligned[axis.dim] != 1:
        return {}
    rows = operation.positions(gradient)
    spread = [dim + 1 for dim, size in enumerate(aligned) if size == 1 and rows.shape[dim + 1] != 1]
    if spread:
        rows = rows.sum(spread)
    if rows.is_complex() and not operation.input_metadata(number).dtype.is_complex:
        rows = rows.real
    return {number: Direct(rows.reshape(operation.samples, *shape))}
