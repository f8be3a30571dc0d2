"""Choice of the reduction: the compiled kernel for float32 on the CPU, PyTorch for everything else."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradmeter.reading.kernels import compiled, portable
from gradmeter.reading.kernels.geometry import Geometry
from gradmeter.reading.statistics import PowerSums

# Largest number of spatial dimensions that the compiled kernel supports.
_COMPILED_DIMENSIONS = 3
_COMPILED_TYPES = (torch.float32, torch.float64)
# Numbers per sample of an output, and initial room for outputs.
_OUTPUT_SUMS = 8
_OUTPUTS = 64
# Above this ratio of |mean| to standard deviation, float32 partial sums lose too many digits of the moments.
_NEARLY_CONSTANT = 3.0


def description() -> str:
    """One line that says which reduction is used on the CPU, and why."""
    return compiled.reason() if compiled.available() else f"PyTorch path; compiled kernel {compiled.reason()}"


def _supports_compiled(*tensors: Tensor, types: tuple[torch.dtype, ...] = (torch.float32,)) -> bool:
    return compiled.available() and all(
        tensor.device.type == "cpu" and tensor.dtype in types and tensor.numel() for tensor in tensors
    )


def _nearly_constant_rows(sums: Tensor, count: int) -> Tensor | None:
    """Indices of the samples whose gradient entries are nearly constant; None if there are none."""
    first, second = sums.numpy()[:, :2].T
    ratio = _NEARLY_CONSTANT**2
    nearly_constant = (1 + ratio) * first * first > ratio * count * second
    return torch.from_numpy(nearly_constant.nonzero()[0]) if count > 1 and nearly_constant.any() else None


def reduce(values: Tensor) -> PowerSums:
    """Power sums of materialised gradients [N, ...]."""
    if not _supports_compiled(values, types=_COMPILED_TYPES):
        return portable.reduce(values)
    flat = values.flatten(1) if values.dim() > 1 else values.unsqueeze(1)
    return PowerSums(flat.shape[1], compiled.reduce(flat))


class OutputSums:
    """Sums of the outputs of a network's layers for N samples: those of `PowerSums`, then the number of values above 0.

    Attributes:
        counts: number of entries per sample of each output, [N] if it differs between samples.
        differ: whether it does for some output.
    """

    def __init__(self, samples: int) -> None:
        self.counts: list[int | Tensor] = []
        self.differ = False
        self._samples = samples
        self._compiled = False
        self._numbers = torch.empty(0, samples, _OUTPUT_SUMS, dtype=torch.float64, device="cpu")
        self._array = self._numbers.numpy()

    def add(self, output: Tensor, kept: Tensor | None = None) -> int:
        """Add an output [N, ...] and return its index.

        Args:
            output: with at least one entry per sample.
            kept: which entries count, [N, ...], at least one per sample; it broadcasts to the output. None if all do.
        """
        index = len(self.counts)
        if index == len(self._numbers):
            self._grow(output.device)
        # Zeros do not change the sums.
        counted = output if kept is None else output.masked_fill(~kept, 0)
        if self._compiled and output.is_cpu and output.dtype in _COMPILED_TYPES:
            compiled.reduce_output(counted, self._array[index])
        else:
            self._numbers[index] = portable.reduce_output(counted.detach())
        entries = output.numel() // self._samples
        if kept is None:
            self.counts.append(entries)
        else:
            self.differ = True
            self.counts.append(kept.flatten(1).sum(1) * (entries * self._samples // kept.numel()))
            _mend_extremes(self._numbers[index], output.detach(), kept)
        return index

    def _grow(self, device: torch.device) -> None:
        """Make room for more outputs, on the device of the first."""
        used = len(self._numbers)
        shape = (max(_OUTPUTS, 2 * used), self._samples, _OUTPUT_SUMS)
        numbers = torch.empty(shape, dtype=torch.float64, device=self._numbers.device if used else device)
        numbers[:used] = self._numbers
        self._numbers = numbers
        self._compiled = numbers.is_cpu and compiled.available()
        if self._compiled:
            self._array = numbers.numpy()

    @property
    def numbers(self) -> Tensor:
        """The sums, [outputs, N, 8] float64."""
        return self._numbers[: len(self.counts)]


def _mend_extremes(numbers: Tensor, output: Tensor, kept: Tensor) -> None:
    """Replace an extreme of 0 by that of the kept entries: it may be of the zeros that took the place of others."""
    for column, sign in ((5, 1), (6, -1)):
        rows = (numbers[:, column] == 0).nonzero()[:, 0]
        if len(rows):
            doubtful, counted = (tensor[rows.to(output.device)] for tensor in (output, kept))
            least = (sign * doubtful).masked_fill(~counted, math.inf).flatten(1).amin(1)
            numbers[rows, column] = sign * least.to(numbers)


def correlate(delta: Tensor, activation: Tensor, geometry: Geometry) -> tuple[PowerSums, Tensor | None]:
    """Power sums of the weight gradients of a convolution, or of a dense layer over positions.

    Args:
        delta: [N, M, *out] gradient of the output.
        activation: [N, C, *in] input, without padding.
        geometry: geometry of the convolution; the gradients are [N, M, C / groups, *kernel].

    Returns:
        The power sums, and the sums of delta over positions, [N, M], if the compiled kernel computed them.
    """
    if len(geometry.kernel) > _COMPILED_DIMENSIONS or not _supports_compiled(delta, activation):
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
        # Recompute in float64: float32 partial sums have too few digits for the moments of these samples.
        sums[rows] = portable.correlate(delta[rows].double(), activation[rows].double(), geometry).numbers
    return PowerSums(count, sums), totals


def channel_sums(delta: Tensor, activation: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of delta * (activation - mean) and of delta over positions, [N, C] each, for [N, C, ...] and mean [C]."""
    if _supports_compiled(delta, activation, mean):
        return compiled.channel_sums(delta, activation, mean)
    return portable.channel_sums(delta, activation, mean)
