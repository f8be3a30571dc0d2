"""Reduction of per-sample gradients to power sums, by the compiled kernel or in PyTorch."""

from gradmeter.reading.kernels.dispatch import OutputSums, channel_sums, correlate, description, reduce
from gradmeter.reading.kernels.portable import chunked, materialise, reduction_bytes

__all__ = [
    "OutputSums",
    "channel_sums",
    "chunked",
    "correlate",
    "description",
    "materialise",
    "reduce",
    "reduction_bytes",
]
