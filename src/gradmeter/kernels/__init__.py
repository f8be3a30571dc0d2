"""The reduction of per-sample gradients to power sums, chosen in one place."""

from gradmeter.kernels.portable import power_sums

__all__ = ["power_sums"]
