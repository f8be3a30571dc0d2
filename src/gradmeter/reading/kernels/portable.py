"""The reduction in PyTorch: materialise the gradients of a few samples and reduce them while they are in cache."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gradmeter.reading.kernels.geometry import POINT, Geometry
from gradmeter.reading.statistics import PowerSums

# Memory for materialising and reducing a chunk of samples, in bytes; about one core's share of the cache.
_CHUNK_BYTES = 4 * 2**20
# Bytes per entry that the reduction needs in addition: a float64 copy and its square.
_REDUCTION_BYTES = 16
# Gradient entries that are reduced at once; as float64, with their squares, they stay in a core's cache.
_BLOCK_ENTRIES = 2**16


def chunked(materialise: Callable[[slice], Tensor], samples: int, bytes_per_sample: int) -> PowerSums:
    """Power sums of gradients [N, ...] that are materialised for a few samples at a time.

    Args:
        materialise: returns the gradients [n, ...] of a slice of the samples.
        samples: N.
        bytes_per_sample: memory for materialising and reducing one sample.
    """
    chunk = max(1, _CHUNK_BYTES // max(1, bytes_per_sample))
    parts = [_in_blocks(materialise(slice(start, start + chunk))) for start in range(0, samples, chunk)]
    return PowerSums.concatenate(parts)


def _in_blocks(gradients: Tensor) -> PowerSums:
    flat = gradients.reshape(len(gradients), -1)
    if flat.device.type != "cpu":
        return PowerSums.of(flat)
    width = max(1, _BLOCK_ENTRIES // len(flat))
    return PowerSums.merge([PowerSums.of(block) for block in flat.split(width, dim=1)])


def reduction_bytes(entries: int, gradient: Tensor) -> int:
    """Memory for a gradient with this many entries, of the dtype of `gradient`, and for its reduction."""
    return entries * (gradient.element_size() + _REDUCTION_BYTES)


def reduce(values: Tensor) -> PowerSums:
    """Power sums of materialised gradients [N, ...]."""
    return chunked(lambda rows: values[rows], len(values), reduction_bytes(values[:1].numel(), values))


def reduce_output(values: Tensor) -> Tensor:
    """Sums of a layer's output [N, ...], [N, 8] float64: those of `PowerSums`, then the number of values above 0."""
    # In memory order to avoid a copy: the sums do not depend on the order.
    order = sorted(range(1, values.dim()), key=values.stride, reverse=True)
    flat = values.permute(0, *order).reshape(len(values), -1)
    positive = torch.count_nonzero(flat > 0, dim=1).unsqueeze(1)
    return torch.cat([reduce(flat).numbers, positive.double()], dim=1)


def _product(delta: Tensor, activation: Tensor, geometry: Geometry) -> tuple[Tensor, bool]:
    """The weight gradient [n, groups, M / groups, ...], and whether its channels come after the taps."""
    dims, groups = len(geometry.kernel), geometry.groups
    windows = geometry.windows(activation, tuple(delta.shape[2:]))
    windows = windows.unflatten(1, (groups, -1))
    delta = delta.flatten(2).unflatten(1, (groups, -1))
    out = tuple(range(3, 3 + dims))
    kernel = tuple(range(3 + dims, 3 + 2 * dims))
    # Copy the windows in the memory order of the input, because long contiguous runs are cheap to copy.
    if activation.stride(1) == 1 and activation.shape[1] > 1:
        columns = windows.permute(0, 1, *out, *kernel, 2).flatten(2, 1 + dims).flatten(3)
        return delta @ columns, True
    columns = windows.permute(0, 1, 2, *kernel, *out).flatten(2, 2 + dims).flatten(3)
    return delta @ columns.transpose(2, 3), False


def materialise(delta: Tensor, activation: Tensor, geometry: Geometry) -> Tensor:
    """The weight gradient [n, M, C / groups, *kernel] of a convolution.

    Args:
        delta: [n, M, *out] gradient of the output.
        activation: [n, C, *in] input, without padding.
        geometry: geometry of the convolution.
    """
    gradient, channels_last = _product(delta, activation, geometry)
    channels = activation.shape[1] // geometry.groups
    if channels_last:
        gradient = gradient.unflatten(3, (*geometry.kernel, channels)).movedim(-1, 3)
    return gradient.reshape(len(delta), -1, channels, *geometry.kernel)


def correlate(delta: Tensor, activation: Tensor, geometry: Geometry) -> PowerSums:
    """Power sums of the weight gradients of `materialise`, for [N, M, *out] and [N, C, *in]."""
    channels, positions = activation.shape[1], math.prod(delta.shape[2:])
    entries = delta.shape[1] * channels // geometry.groups * geometry.taps
    columns = 0 if geometry == POINT else channels * geometry.taps * positions * delta.element_size()

    # Sums and extremes do not depend on the order of the entries.
    def unordered(rows: slice) -> Tensor:
        if geometry == POINT:
            return delta[rows] @ activation[rows].transpose(1, 2)
        return _product(delta[rows], activation[rows], geometry)[0]

    return chunked(unordered, len(delta), columns + reduction_bytes(entries, delta))


def channel_sums(delta: Tensor, activation: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of delta * (activation - mean) and of delta over positions, [N, C] each, for [N, C, ...] and mean [C]."""
    centred = activation - mean.reshape(-1, *(1,) * (activation.dim() - 2))
    product = (centred * delta).flatten(2).sum(2) if delta.dim() > 2 else centred * delta
    return product, delta.flatten(2).sum(2) if delta.dim() > 2 else delta


__all__ = ["channel_sums", "chunked", "correlate", "materialise", "reduce", "reduce_output", "reduction_bytes"]
