"""How the windows of a convolution lie: derived once, used by the compiled reduction and by its PyTorch twin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """One entry per spatial dimension.

    Attributes:
        kernel: taps of the window.
        stride: distance of neighbouring windows.
        dilation: distance of neighbouring taps.
        padding: zeros before the input; behind it there are as many as the last window needs.
        groups: how many parts the channels are cut into.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    groups: int

    @property
    def taps(self) -> int:
        """Entries of a window, per channel."""
        return math.prod(self.kernel)

    def windows(self, activation: Tensor, out: tuple[int, ...]) -> Tensor:
        """The entries [n, C, *out, *kernel] that each output position saw of the input [n, C, *in]."""
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
"""A dense layer over positions: every position is its own window."""
