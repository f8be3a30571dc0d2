"""The backward pass of ATen operations, written in operations that ONNX has.

PyTorch's own backward operations, such as `convolution_backward`, have no counterpart in ONNX. A rule gets the gradient
of an operation's output and returns those of its arguments.
"""

from gradmeter.reading.traced.rules import attention, entries, layers, norms, pooling, tensors, views
from gradmeter.reading.traced.rules.step import RULES, Layout, Step, Unruled

__all__ = [
    "RULES",
    "Layout",
    "Step",
    "Unruled",
    "attention",
    "entries",
    "layers",
    "norms",
    "pooling",
    "tensors",
    "views",
]
