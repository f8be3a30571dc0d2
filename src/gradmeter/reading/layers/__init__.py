"""One file per kind of operation: from what it kept, and the gradient of its output, to its parameters' gradients."""

from gradmeter.reading.layers import (
    bilinear,
    convolution,
    dense,
    elementwise,
    embedding,
    grouped,
    normalisation,
    recurrent,
)
from gradmeter.reading.layers.contributions import Contributions, Unkept
from gradmeter.reading.layers.outputs import LayerOutputs, OutputReader
from gradmeter.reading.layers.registry import (
    measured_operations,
    module_rule,
    operation_rule,
    register_rule,
    ruled_modules,
)
from gradmeter.reading.layers.ways import TimedContributions, Use, Way

__all__ = [
    "Contributions",
    "LayerOutputs",
    "OutputReader",
    "TimedContributions",
    "Unkept",
    "Use",
    "Way",
    "bilinear",
    "convolution",
    "dense",
    "elementwise",
    "embedding",
    "grouped",
    "measured_operations",
    "module_rule",
    "normalisation",
    "operation_rule",
    "recurrent",
    "register_rule",
    "ruled_modules",
]
