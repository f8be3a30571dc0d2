"""The positions of a layer's input that each entry of its kernel reads, along rows and columns.

For output position (y, x), the weight of tap (i, j) reads the input at position (rows[i][y], columns[j][x]), or a zero
of the padding. With S_i the matrix [h, h_in] that selects these rows, the layer's output is the sum of
weight[:, :, i, j] @ (S_i input S_j.T) over taps, for convolutions and transposed convolutions of any geometry.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks

from gradmeter.reading.network import runs_forward_of
from gradmeter.reading.pixels.bands import Band
from gradmeter.reading.pixels.paths import CHANNELS_FIRST, CHANNELS_LAST


@dataclass(frozen=True)
class Taps:
    """The taps of one call of a layer.

    Attributes:
        rows: for each row of the kernel the rows of the input that it reads, [h] int64; -1 for a zero of the padding.
        columns: for each column of the kernel the columns of the input, [w].
        size: height and width of the input.
        groups: number of channel groups.
        axes: order of the axes of the layer's input and output.
    """

    rows: tuple[Tensor, ...]
    columns: tuple[Tensor, ...]
    size: tuple[int, int]
    groups: int
    axes: str

    def down(self, band: Band) -> list[Band]:
        """The matrices band @ S_i, [H, h_in], of a matrix [H, h] and every row of the kernel."""
        return [band.selected(positions, self.size[0]) for positions in self.rows]

    def across(self, band: Band) -> list[Band]:
        """The matrices band @ S_j, [W, w_in], of a matrix [W, w] and every column of the kernel."""
        return [band.selected(positions, self.size[1]) for positions in self.columns]


def has_taps(module: nn.Module) -> bool:
    """Whether a module is a dense layer, convolution or transposed convolution that runs PyTorch's own forward pass."""
    kind = _kind(module)
    # Hooks of all modules run before those of this one, and may change the output.
    if kind is None or not runs_forward_of(module, kind) or module_hooks._global_forward_hooks:
        return False
    conv_forward = getattr(kind, "_conv_forward", None)
    return conv_forward is None or getattr(module._conv_forward, "__func__", None) is conv_forward


def _kind(module: nn.Module) -> type[nn.Module] | None:
    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    return next((kind for kind in kinds if isinstance(module, kind)), None)


def axes_of(module: nn.Module) -> str:
    """The order of the axes of a layer's output: a dense layer has the channels last."""
    return CHANNELS_LAST if isinstance(module, nn.Linear) else CHANNELS_FIRST


def taps_of(module: nn.Module, given: tuple[int, ...], returned: tuple[int, ...]) -> Taps | None:
    """The taps of a module for an input and an output of these shapes; None if they are not known."""
    if not has_taps(module) or len(given) != 4 or len(returned) != 4:
        return None
    if isinstance(module, nn.Linear):
        height, width = (torch.arange(length, device="cpu") for length in given[1:3])
        return Taps((height,), (width,), (given[1], given[2]), 1, CHANNELS_LAST)
    if isinstance(module, nn.ConvTranspose2d):
        rows, columns = (_transposed(module, axis, given[2 + axis], returned[2 + axis]) for axis in (0, 1))
        return Taps(rows, columns, (given[2], given[3]), module.groups, CHANNELS_FIRST)
    assert isinstance(module, nn.Conv2d)
    rows, columns = (_convolved(module, axis, given[2 + axis], returned[2 + axis]) for axis in (0, 1))
    return Taps(rows, columns, (given[2], given[3]), module.groups, CHANNELS_FIRST)


def _convolved(module: nn.Conv2d, axis: int, length: int, outputs: int) -> tuple[Tensor, ...]:
    kernel, stride, dilation = module.kernel_size[axis], module.stride[axis], module.dilation[axis]
    padding = module.padding
    if padding == "same":
        # PyTorch adds the odd zero behind the input.
        total = dilation * (kernel - 1)
        before, after = total // 2, total - total // 2
    else:
        before = after = 0 if isinstance(padding, str) else int(padding[axis])
    positions = torch.arange(1, length + 1, dtype=torch.float64, device="cpu").reshape(1, 1, length)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = F.pad(positions, (before, after), mode=mode).flatten().long() - 1
    start = stride * torch.arange(outputs, device="cpu")
    return tuple(padded[start + tap * dilation] for tap in range(kernel))


def _transposed(module: nn.ConvTranspose2d, axis: int, length: int, outputs: int) -> tuple[Tensor, ...]:
    stride, dilation, padding = module.stride[axis], module.dilation[axis], int(module.padding[axis])
    selections = []
    for tap in range(module.kernel_size[axis]):
        shifted = torch.arange(outputs, device="cpu") + padding - tap * dilation
        source = torch.div(shifted, stride, rounding_mode="floor")
        reads = (shifted % stride == 0) & (source >= 0) & (source < length)
        selections.append(torch.where(reads, source, -1))
    return tuple(selections)
