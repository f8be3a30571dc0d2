"""Reduction of per-sample gradients to power sums, by the compiled kernel or in PyTorch."""

from gradmeter.reading.kernels.dispatch import channel_sums, correlate, description, reduce, reduce_output
from gradmeter.reading.kernels.portable import chunked, materialise, reduction_bytes

__all__ = [
    "channel_sums",
    "chunked",
    "correlate",
    "description",
    "materialise",
    "reduce",
    "reduce_output",
    "reduction_bytes",
]
