"""One file per kind of operation: from what it kept, and the gradient of its output, to its parameters' gradients."""

from gradmeter.layers import convolution, dense, elementwise, embedding, normalisation
from gradmeter.layers.contributions import Contributions, Unkept
from gradmeter.layers.outputs import LayerOutputs, OutputReader
from gradmeter.layers.registry import measured_operations, measures, module_rule, operation_rule, ruled_modules

__all__ = [
    "Contributions",
    "LayerOutputs",
    "OutputReader",
    "Unkept",
    "convolution",
    "dense",
    "elementwise",
    "embedding",
    "measured_operations",
    "measures",
    "module_rule",
    "normalisation",
    "operation_rule",
    "ruled_modules",
]
