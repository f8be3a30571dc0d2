"""Rules that compute the gradients of an operation's parameters, one file per kind of operation."""

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
from gradmeter.reading.layers.outputs import Inseparable, LayerOutputs, OutputReader
from gradmeter.reading.layers.registry import (
    MODULE_RULES,
    OPERATION_RULES,
    measured_operations,
    module_rule,
    operation_rule,
    register_rule,
    ruled_modules,
)
from gradmeter.reading.layers.ways import TimedContributions, Use, Way

__all__ = [
    "MODULE_RULES",
    "OPERATION_RULES",
    "Contributions",
    "Inseparable",
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
