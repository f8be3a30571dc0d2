"""The reduction of per-sample gradients to power sums: compiled, or in PyTorch, chosen in one place."""

from gradmeter.reading.kernels.dispatch import channel_sums, correlate, description, reduce
from gradmeter.reading.kernels.portable import chunked, materialise, reduction_bytes

__all__ = ["channel_sums", "chunked", "correlate", "description", "materialise", "reduce", "reduction_bytes"]
