"""The geometry of a convolution, shared by the compiled reduction and the PyTorch one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """Geometry of a convolution; tuples have one entry per spatial dimension.

    Attributes:
        kernel: number of taps of the window.
        stride: distance between neighbouring windows.
        dilation: distance between neighbouring taps.
        padding: zeros before the input; after it there are as many as the last window needs.
        groups: number of channel groups.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    groups: int

    @property
    def taps(self) -> int:
        """Number of taps of a window, per channel."""
        return math.prod(self.kernel)

    def windows(self, activation: Tensor, out: tuple[int, ...]) -> Tensor:
        """The windows [n, C, *out, *kernel] of the input [n, C, *in], one per output position."""
        before, after = [], []
        for size, count, kernel, stride, dilation, padding in zip(
            activation.shape[2:], out, self.kernel, self.stride, self.dilation, self.padding, strict=True
        ):
            before.append(padding)
            after.append(max(0, (count - 1) * stride + (kernel - 1) * dilation + 1 - padding - size))
        if any(before) or any(after):
            amounts = [amount for pair in zip(reversed(before), reversed(after), strict=True) for amount in pair]
            activation = F.pad(activation, amounts)
        windows = activation
        for axis, count in enumerate(out, start=2):
            reach = (self.kernel[axis - 2] - 1) * self.dilation[axis - 2] + 1
            windows = windows.unfold(axis, reach, self.stride[axis - 2]).narrow(axis, 0, count)
            windows = windows[..., :: self.dilation[axis - 2]]
        return windows


POINT = Geometry(kernel=(1,), stride=(1,), dilation=(1,), padding=(0,), groups=1)
"""A dense layer over positions, as a convolution with one tap."""
