"""Power sums of a layer's inputs as every pixel of the logits sees them, for a few rows of pixels at a time.

For pixel q, tap (i, j) of the kernel sees rows_i[q] @ input @ columns_j[q], where the matrices join the layer's
geometry and the path to the logits. The pixel's gradient of the weight is the outer product of these values and the
derivative of its loss by its logits, so that products of power sums suffice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradmeter.reading.kernels import reduce
from gradmeter.reading.pixels.bands import Band
from gradmeter.reading.pixels.paths import CHANNELS_LAST, Path
from gradmeter.reading.pixels.planar import merged, of_constant
from gradmeter.reading.pixels.taps import Taps
from gradmeter.reading.statistics import PowerSums

# Entries of interpolated inputs at a time: as float32 they stay in a core's cache.
_ENTRIES = 2**18
_SUMS = 7


class _Axis:
    """A matrix [outputs, inputs] along one axis."""

    def __init__(self, band: Band, dtype: torch.dtype, device: torch.device) -> None:
        self._band, self._device, self._dtype = band, device, dtype
        self._blocks: dict[tuple[int, int], tuple[slice, Tensor]] = {}
        nonzero = band.weights != 0
        selects = bool((nonzero.sum(1) <= 1).all()) and bool((band.weights[nonzero] == 1).all())
        first = band.start + nonzero.int().argmax(1)
        self.selected = torch.where(nonzero.any(1), first, -1).to(device) if selects else None
        """[outputs] the one position that each output reads with weight 1, -1 for none; None if there are others."""

    def block(self, outputs: slice) -> tuple[slice, Tensor]:
        """The positions that some outputs read, and their weights [outputs, positions]."""
        key = outputs.start, outputs.stop
        if key not in self._blocks:
            positions, weights = self._band[outputs].block()
            self._blocks[key] = positions, weights.to(self._device, self._dtype)
        return self._blocks[key]


@dataclass(frozen=True)
class _Call:
    """One call of a layer: its input for a batch, and the matrices of every row and column of its kernel."""

    activation: Tensor
    rows: list[_Axis]
    columns: list[_Axis]


class Features:
    """The inputs of one layer for a batch.

    Args:
        calls: for each call of the layer its input, its taps and its path to the logits.
    """

    def __init__(self, calls: Sequence[tuple[Tensor, Taps, Path]]) -> None:
        self.groups = calls[0][1].groups
        self._calls = [_joined(*call) for call in calls]
        self._ones = [_ones(taps, path) for _, taps, path in calls]
        self._constants: dict[tuple[int, int], PowerSums] = {}
        self._width = len(calls[0][2].columns)
        first = self._calls[0]
        self._selects = len(calls) == 1 and all(axis.selected is not None for axis in (*first.rows, *first.columns))
        self._image = -1
        self._memory = first.activation.new_empty(0)
        self._maps: list[Tensor] = []
        self._groups_of_map: list[Tensor] = []

    def constant(self, rows: slice) -> PowerSums:
        """Power sums of a constant input 1, the factor of the bias's gradient, for P pixels."""
        key = rows.start, rows.stop
        if key not in self._constants:
            values = sum(torch.outer(down[rows], across).flatten() for down, across in self._ones)
            assert isinstance(values, Tensor)
            self._constants[key] = of_constant(values.to(self._calls[0].activation.device))
        return self._constants[key]

    def sums(self, image: int, rows: slice) -> list[PowerSums]:
        """Power sums of the inputs, for each channel group, for the P pixels of some rows of an image, row by row."""
        if image != self._image:
            self._image = image
            # [h, w, channels], because all channels of a position are reduced at once.
            self._maps = [call.activation[image].permute(1, 2, 0).contiguous() for call in self._calls]
            self._groups_of_map = self._sums_of_map() if self._selects else []
        return self._selected(rows) if self._selects else self._interpolated(rows)

    def _split(self, values: Tensor) -> list[Tensor]:
        """Power sums [P, 7] of each channel group, of values [P, channels]."""
        return [reduce(part).numbers for part in values.chunk(self.groups, dim=1)]

    def _sums_of_map(self) -> list[Tensor]:
        """For each group the power sums of every position of the input, [7, positions + 1]; the last are zero."""
        parts = self._split(self._maps[0].flatten(0, 1))
        return [torch.cat([part, part.new_zeros(1, _SUMS)]).T.contiguous() for part in parts]

    def _selected(self, rows: slice) -> list[PowerSums]:
        (call,) = self._calls
        channels = call.activation.shape[1] // self.groups
        width = self._maps[0].shape[1]
        parts: list[list[PowerSums]] = [[] for _ in range(self.groups)]
        for down in call.rows:
            for across in call.columns:
                assert down.selected is not None
                assert across.selected is not None
                y, x = down.selected[rows].unsqueeze(1), across.selected.unsqueeze(0)
                index = torch.where((y < 0) | (x < 0), -1, y * width + x).flatten()
                for of_group, sums in zip(parts, self._groups_of_map, strict=True):
                    of_group.append(PowerSums(channels, sums[:, index].T))
        return [merged(of_group) for of_group in parts]

    def _interpolated(self, rows: slice) -> list[PowerSums]:
        height = rows.stop - rows.start
        channels = self._maps[0].shape[2]
        step = max(8, _ENTRIES // (channels * height))
        taps = [(i, j) for i in range(len(self._calls[0].rows)) for j in range(len(self._calls[0].columns))]
        # The first step of the interpolation, along the rows, for all columns at once.
        down = [
            [_weighted(axis, rows, pixels) for axis in call.rows]
            for call, pixels in zip(self._calls, self._maps, strict=True)
        ]
        # For every group and tap the sums, filled block by block of columns.
        numbers = torch.empty(
            self.groups, len(taps), _SUMS, height, self._width, dtype=torch.float64, device=self._maps[0].device
        )
        for start in range(0, self._width, step):
            columns = slice(start, min(start + step, self._width))
            for tap, (i, j) in enumerate(taps):
                values = self._values([of_call[i] for of_call in down], columns, j).flatten(0, 1)
                for group, sums in enumerate(self._split(values)):
                    numbers[group, tap, :, :, columns] = sums.T.reshape(_SUMS, height, -1)
        count = channels // self.groups
        return [merged([PowerSums(count, tap.flatten(1).T) for tap in of_group]) for of_group in numbers]

    def _values(self, down: Sequence[Tensor], columns: slice, tap: int) -> Tensor:
        """The second step, along the columns: [rows, columns, channels], valid until the next call."""
        total = self._buffer(down[0].shape[0], columns.stop - columns.start, down[0])
        for number, (call, partial) in enumerate(zip(self._calls, down, strict=True)):
            positions, weights = call.columns[tap].block(columns)
            factors = weights.expand(partial.shape[0], -1, -1), partial[:, positions]
            if number:
                total.baddbmm_(*factors)
            else:
                torch.bmm(*factors, out=total)
        return total

    def _buffer(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """Memory for the values of a block, the same every time, because it stays in the cache."""
        size = rows * columns * like.shape[-1]
        if self._memory.numel() < size:
            self._memory = like.new_empty(size)
        return self._memory[:size].reshape(rows, columns, -1)


def _weighted(axis: _Axis, rows: slice, pixels: Tensor) -> Tensor:
    """Weighted sums [rows, w, channels] of the rows of a map [h, w, channels]."""
    positions, weights = axis.block(rows)
    return (weights @ pixels[positions].flatten(1)).reshape(len(weights), *pixels.shape[1:])


def _joined(activation: Tensor, taps: Taps, path: Path) -> _Call:
    """Join a layer's geometry and the path behind it."""
    if taps.axes == CHANNELS_LAST:
        activation = activation.permute(0, 3, 1, 2)
    if activation.dtype not in (torch.float32, torch.float64):
        activation = activation.float()
    rows = [_Axis(band, activation.dtype, activation.device) for band in taps.down(path.factor * path.rows)]
    columns = [_Axis(band, activation.dtype, activation.device) for band in taps.across(path.columns)]
    return _Call(activation, rows, columns)


def _ones(taps: Taps, path: Path) -> tuple[Tensor, Tensor]:
    """The factors [H] and [W] of the bias's gradient: what the path makes of a constant output."""
    return path.factor * path.rows.weights.sum(1), path.columns.weights.sum(1)
