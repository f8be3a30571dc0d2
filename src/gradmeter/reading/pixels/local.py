"""Power sums of pixels' gradients of the layer before the last, if only elementwise operations lie between the two.

The derivative of a pixel's loss by the input of the last layer is known without a backward pass, and is zero outside a
small window of positions. Through norms in eval mode and activations it is multiplied by their slopes, the same for all
pixels. The gradient is the sum, over the window, of outer products of these derivatives and the layer's inputs. It
costs pixels * window * parameters multiplications, and the gradients are reduced without being stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import CheckpointError

from gradmeter.reading.kernels import reduce
from gradmeter.reading.layers.gradients import Dense
from gradmeter.reading.network import nodes_below, sound_gradients
from gradmeter.reading.pixels.bands import Band
from gradmeter.reading.pixels.calls import CutLayer, Kept
from gradmeter.reading.pixels.paths import CHANNELS_FIRST, Path
from gradmeter.reading.pixels.starts import PixelStarts
from gradmeter.reading.pixels.structure import checked_pixels
from gradmeter.reading.pixels.taps import Taps, taps_of
from gradmeter.reading.statistics import PowerSums

# Memory for the derivatives and inputs in the windows of a block of pixels, in bytes.
_BLOCK_BYTES = 2**22
# Largest difference between a random derivative by autograd and by the slopes, relative to its largest entry.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
_TOLERANCE_HALF = 5e-2
# The groups of a convolution are measured one after the other.
_MOST_GROUPS = 64


def slopes(features: Tensor, output: Tensor) -> Tensor | None:
    """The derivative of each entry of `features` by the same entry of `output`; None if others have an influence.

    None also if a checkpoint computes `output` again in a backward pass: it finds no leaf there.

    Args:
        features: [N, C, h, w] input of the last layer, a function of `output`.
        output: [N, C, h, w] output of the layer before.
    """
    if features.shape != output.shape or not features.requires_grad:
        return None
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(features.shape, generator=generator, dtype=torch.float64, device="cpu").to(features)
    # Of few positions, because what an entry has of all others is lost in a sum over these.
    positions = direction[0, 0].numel()
    few = torch.zeros(positions, device="cpu").index_fill_(0, checked_pixels(positions), 1)
    single = direction * few.reshape(direction.shape[2:]).to(direction)
    try:
        with sound_gradients(nodes_below([features.grad_fn])):
            (slope,) = torch.autograd.grad(features, output, torch.ones_like(features), retain_graph=True)
            (mixed,) = torch.autograd.grad(features, output, direction, retain_graph=True)
            (apart,) = torch.autograd.grad(features, output, single, retain_graph=True)
    except CheckpointError:
        return None
    limit = _TOLERANCE.get(features.dtype, _TOLERANCE_HALF)
    is_own = (mixed - slope * direction).abs().max() <= limit * mixed.abs().max()
    is_alone = (apart - slope * single).abs().sum() <= limit * apart.abs().sum()
    return slope if is_own and is_alone else None


class Windows:
    """The positions along one axis that each output reads, as windows of equal length.

    Args:
        bands: a matrix [outputs, inputs] for each tap.
    """

    def __init__(self, bands: Sequence[Band]) -> None:
        positions = torch.cat([band.positions for band in bands], dim=1)
        sizes = torch.cat([band.weights.abs() for band in bands], dim=1)
        whole = Band.of(positions, sizes, bands[0].inputs)
        self.positions = whole.positions
        """[outputs, length]."""
        self.weights = torch.stack([band.in_windows(whole.start, whole.weights.shape[1]) for band in bands], dim=1)
        """[outputs, taps, length] float64."""


class Inner(Protocol):
    """The layer before the last."""

    bytes_per_position: int

    def sums(self, image: int, positions: Tensor, derivatives: Tensor) -> PowerSums:
        """Power sums for positions [P, T] of its output and their derivatives [P, T, C]."""


@dataclass(frozen=True)
class LocalLayer:
    """The layer before a last layer, for a batch.

    Attributes:
        weight: [classes, C, taps, taps] weight of the last layer.
        rows: windows of the rows of the last layer's input that a pixel reads.
        columns: windows of its columns.
        slope: [N, C, h, w] as returned by `slopes`.
        inner: the measured layer.
    """

    weight: Tensor
    rows: Windows
    columns: Windows
    slope: Tensor
    inner: Inner

    def sums(self, image: int, rows: slice, starts: Sequence[PixelStarts]) -> list[PowerSums]:
        """Power sums of the gradients of P pixels, as `LastLayer.sums`."""
        height, width = rows.stop - rows.start, len(self.columns.positions)
        slope = self.slope[image].flatten(1).T
        device = slope.device
        y = torch.arange(rows.start, rows.stop, device="cpu").repeat_interleave(width)
        x = torch.arange(width, device="cpu").repeat(height)
        positions = self.rows.positions[y].unsqueeze(2) * self.slope.shape[3] + self.columns.positions[x].unsqueeze(1)
        positions = positions.flatten(1).to(device)
        channels, length = slope.shape[1], positions.shape[1]
        size = length * (2 * channels * slope.element_size() + self.inner.bytes_per_position)
        block = max(1, _BLOCK_BYTES // size)
        down, across = (part.to(device, slope.dtype) for part in (self.rows.weights[y], self.columns.weights[x]))
        sums = []
        for start in starts:
            direction = start.direction.to(slope.dtype)
            parts = []
            for at in range(0, len(positions), block):
                pixels = slice(at, at + block)
                by_tap = torch.einsum("pk,kcij->pcij", direction[pixels], self.weight)
                by_input = torch.einsum("pcij,pia,pjb->pabc", by_tap, down[pixels], across[pixels]).flatten(1, 2)
                derivatives = by_input * slope[positions[pixels]]
                parts.append(self.inner.sums(image, positions[pixels], derivatives))
            sums.append(PowerSums.concatenate(parts))
        return sums


def _last_windows(taps: Taps, path: Path) -> tuple[Windows, Windows]:
    """The windows of the input of a last layer that each row and column of pixels reads."""
    return Windows(taps.down(path.factor * path.rows)), Windows(taps.across(path.columns))


def _dense_weight(module: nn.Module) -> Tensor:
    """The weight [classes, C, taps, taps] of a last layer without channel groups: zeros between groups."""
    assert isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    weight = module.weight.detach()
    if isinstance(module, nn.Linear):
        return weight[:, :, None, None]
    groups = weight.chunk(module.groups)
    if isinstance(module, nn.ConvTranspose2d):
        groups = tuple(group.transpose(0, 1) for group in groups)
    if len(groups) == 1:
        return groups[0]
    classes, channels = groups[0].shape[:2]
    dense = weight.new_zeros(len(groups), classes, len(groups), channels, *weight.shape[2:])
    for number, group in enumerate(groups):
        dense[number, :, number] = group
    return dense.flatten(2, 3).flatten(0, 1)


class InnerTaps:
    """A dense layer or convolution before the last layer.

    Args:
        activation: [N, C_in, h_in, w_in] its input.
        taps: its taps.
        weight: whether its weight is measured.
        bias: whether its bias is measured.
    """

    def __init__(self, activation: Tensor, taps: Taps, *, weight: bool, bias: bool) -> None:
        self._activation, self._groups, self._weight, self._bias = activation, taps.groups, weight, bias
        rows, columns = (torch.stack(along, dim=1) for along in (taps.rows, taps.columns))
        width = activation.shape[3]
        inside = (rows >= 0)[:, None, :, None] & (columns >= 0)[None, :, None, :]
        index = rows[:, None, :, None] * width + columns[None, :, None, :]
        # [h * w, taps]; the last position of the input is a zero of the padding.
        padding = activation.shape[2] * width
        self._index = torch.where(inside, index, padding).flatten(2).flatten(0, 1).to(activation.device)
        self.bytes_per_position = activation.shape[1] * self._index.shape[1] * activation.element_size()
        self._image, self._map = -1, activation

    def sums(self, image: int, positions: Tensor, derivatives: Tensor) -> PowerSums:
        """Power sums for positions [P, T] of its output and their derivatives [P, T, C]."""
        parts = []
        if self._weight:
            if image != self._image:
                pixels = self._activation[image].flatten(1).T
                self._image, self._map = image, torch.cat([pixels, torch.zeros_like(pixels[:1])])
            inputs = self._map[self._index[positions]]
            for delta, given in zip(derivatives.chunk(self._groups, 2), inputs.chunk(self._groups, 3), strict=True):
                parts.append(Dense(delta, given.flatten(2)).power_sums())
        if self._bias:
            parts.append(reduce(derivatives.sum(1)))
        return PowerSums.merge(parts)


class InnerNorm:
    """A BatchNorm in eval mode before the last layer.

    Args:
        activation: [N, C, h, w] its input.
        module: the norm.
        weight: whether its weight is measured.
        bias: whether its bias is measured.
    """

    def __init__(self, activation: Tensor, module: _BatchNorm, *, weight: bool, bias: bool) -> None:
        assert module.running_mean is not None
        assert module.running_var is not None
        self._activation, self._weight, self._bias = activation, weight, bias
        self._mean = module.running_mean.to(activation.dtype)
        self._scale = torch.rsqrt(module.running_var + module.eps).to(activation.dtype)
        self.bytes_per_position = activation.shape[1] * activation.element_size()

    def sums(self, image: int, positions: Tensor, derivatives: Tensor) -> PowerSums:
        """Power sums for positions [P, T] of its output and their derivatives [P, T, C]."""
        parts = []
        if self._weight:
            inputs = self._activation[image].flatten(1).T[positions]
            parts.append(reduce(((inputs - self._mean) * self._scale * derivatives).sum(1)))
        if self._bias:
            parts.append(reduce(derivatives.sum(1)))
        return PowerSums.merge(parts)


def _inner_layer(
    module: nn.Module, parameters: Mapping[str, nn.Parameter], arguments: Sequence[Any], output: Tensor
) -> InnerTaps | InnerNorm | None:
    """The layer before the last in one call, with its arguments and output; None if it is measured otherwise."""
    measured = {"weight": "weight" in parameters, "bias": "bias" in parameters}
    if len(arguments) != 1 or not isinstance(arguments[0], Tensor) or output.dtype not in _TOLERANCE:
        return None
    if isinstance(module, nn.BatchNorm2d):
        return InnerNorm(arguments[0], module, **measured)
    taps = taps_of(module, tuple(arguments[0].shape), tuple(output.shape))
    if taps is None or taps.axes != CHANNELS_FIRST or taps.groups > _MOST_GROUPS:
        return None
    return InnerTaps(arguments[0], taps, **measured)


def local_layer(cut: CutLayer, behind: Kept, last: nn.Module, path: Path) -> LocalLayer | None:
    """The layer before a last layer; None if it must be measured otherwise.

    Args:
        cut: the layer, called once.
        behind: the call of the last layer that reads its output.
        last: that last layer.
        path: the path from there to the logits.
    """
    if len(cut.calls) != 1:
        return None
    ((args, kwargs, output),) = cut.calls
    taps = taps_of(last, tuple(behind.activation.shape), tuple(behind.output.shape))
    slope = slopes(behind.activation, output)
    inner = _inner_layer(cut.module, cut.parameters, [*args, *kwargs.values()], output)
    if taps is None or taps.axes != CHANNELS_FIRST or slope is None or inner is None:
        return None
    rows, columns = _last_windows(taps, path)
    return LocalLayer(_dense_weight(last), rows, columns, slope, inner)
