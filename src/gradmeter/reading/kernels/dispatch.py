"""Which reduction serves: the compiled one for float32 on the CPU, its PyTorch twin for everything else."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmeter.reading.kernels import compiled, portable
from gradmeter.reading.kernels.geometry import Geometry
from gradmeter.reading.statistics import PowerSums

# The compiled loops know up to three dimensions of space.
_COMPILED_DIMENSIONS = 3
# Above this ratio of |mean| to deviation the compiled reduction's float32 partial sums lose digits of the moments.
_NEARLY_CONSTANT = 3.0


def description() -> str:
    """Which reduction is in use on the CPU and why, in one line."""
    return compiled.reason() if compiled.available() else f"PyTorch path; compiled kernel {compiled.reason()}"


def _compiled_serves(*tensors: Tensor, types: tuple[torch.dtype, ...] = (torch.float32,)) -> bool:
    return compiled.available() and all(
        tensor.device.type == "cpu" and tensor.dtype in types and tensor.numel() for tensor in tensors
    )


def _nearly_constant_rows(sums: Tensor, count: int) -> Tensor | None:
    first, second = sums.numpy()[:, :2].T
    ratio = _NEARLY_CONSTANT**2
    found = (1 + ratio) * first * first > ratio * count * second
    return torch.from_numpy(found.nonzero()[0]) if count > 1 and found.any() else None


def reduce(values: Tensor) -> PowerSums:
    """Power sums of gradients [N, ...] that are held as they are."""
    if not _compiled_serves(values, types=(torch.float32, torch.float64)):
        return portable.reduce(values)
    flat = values.flatten(1) if values.dim() > 1 else values.unsqueeze(1)
    return PowerSums(flat.shape[1], compiled.reduce(flat))


def correlate(delta: Tensor, activation: Tensor, geometry: Geometry) -> tuple[PowerSums, Tensor | None]:
    """Power sums of the weight gradients of a convolution, or of a dense layer over positions.

    Args:
        delta: [N, M, *out] gradient of the output.
        activation: [N, C, *in] input, unpadded.
        geometry: the windows; the gradients are [N, M, C / groups, *kernel].

    Returns:
        The power sums; and the sums of delta over positions, [N, M], where they came along for nothing.
    """
    if len(geometry.kernel) > _COMPILED_DIMENSIONS or not _compiled_serves(delta, activation):
        return portable.correlate(delta, activation, geometry), None
    sums, totals = compiled.correlate(
        delta,
        activation,
        geometry.kernel,
        stride=geometry.stride,
        dilation=geometry.dilation,
        padding=geometry.padding,
        groups=geometry.groups,
        bias=True,
    )
    count = delta.shape[1] * activation.shape[1] // geometry.groups * geometry.taps
    if (rows := _nearly_constant_rows(sums, count)) is not None:
        # Their moments need more digits than float32 partial sums have.
        sums[rows] = portable.correlate(delta[rows].double(), activation[rows].double(), geometry).numbers
    return PowerSums(count, sums), totals


def channel_sums(delta: Tensor, activation: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over positions of delta * (activation - mean) and of delta, [N, C] each, from [N, C, ...] and [C]."""
    if _compiled_serves(delta, activation, mean):
        return compiled.channel_sums(delta, activation, mean)
    return portable.channel_sums(delta, activation, mean)
