"""Convolutions and transposed convolutions, with any stride, dilation, padding and groups."""

from __future__ import annotations

from torch import Tensor

from gradmeter.reading.capture import Operation
from gradmeter.reading.capture.sample_axis import Shape
from gradmeter.reading.kernels.geometry import Geometry
from gradmeter.reading.layers.gradients import Correlation, PerSampleGradient, Totals
from gradmeter.reading.layers.registry import register_rule


def images(operation: Operation, tensor: Tensor) -> Tensor:
    """[N, C, ...]; several images per sample become an additional first spatial dimension."""
    if operation.axis.plain:
        return tensor
    return operation.positions(tensor).movedim(1, 2)


def _geometry(operation: Operation, kernel: Shape) -> Geometry:
    options = [tuple(operation.saved(name)) for name in ("stride", "dilation", "padding")]
    # A single number applies to all dimensions.
    options = [option * (len(kernel) // len(option)) for option in options]
    if not operation.axis.plain:
        kernel = (1, *kernel)
        options = [(first, *option) for first, option in zip((1, 1, 0), options, strict=True)]
    stride, dilation, padding = options
    return Geometry(kernel, stride, dilation, padding, operation.saved("groups"))


@register_rule("ConvolutionBackward0", "ConvolutionBackward1")
def convolution(operation: Operation) -> dict[int, PerSampleGradient]:
    """Weight [M, C / groups, *kernel] and bias [M]; if transposed, input and output are swapped."""
    if operation.axis.dim != 0:
        return {}
    delta = images(operation, operation.delta)
    gradients: dict[int, PerSampleGradient] = {}
    weight = None
    if 1 in operation.inputs:
        left, right = delta, images(operation, operation.saved("input"))
        if operation.saved("transposed"):
            left, right = right, left
        shape = operation.size_of_input(1)
        gradients[1] = weight = Correlation(left, right, _geometry(operation, shape[2:]), shape)
    if 2 in operation.inputs:
        gradients[2] = Totals(delta, None if operation.saved("transposed") else weight)
    return gradients
