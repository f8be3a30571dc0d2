"""One file per kind of layer: from (input, output gradient) to the per-sample gradient of each parameter."""

from gradmeter.layers import convolution, dense, normalisation
from gradmeter.layers.registry import measures, require_rule, rule_for

__all__ = ["convolution", "dense", "measures", "normalisation", "require_rule", "rule_for"]
