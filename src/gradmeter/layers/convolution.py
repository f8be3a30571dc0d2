"""Convolutions over one, two or three dimensions, with any stride, dilation, grouping and padding mode."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter.kernels.portable import PerSampleGradient
from gradmeter.layers.gradients import Correlation, Direct, Geometry
from gradmeter.layers.registry import measures


def _padded(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, activation: Tensor) -> Tensor:
    """The input as the windows see it, in the memory order in which it came."""
    # PyTorch's own list of amounts, last dimension first; it also resolves padding="same".
    amounts = module._reversed_padding_repeated_twice
    if not any(amounts):
        return activation
    if module.padding_mode == "zeros":
        return F.pad(activation, amounts)
    return F.pad(activation, amounts, mode=module.padding_mode)


@measures(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def convolution(
    module: nn.Conv1d | nn.Conv2d | nn.Conv3d, activation: Tensor, delta: Tensor
) -> dict[str, PerSampleGradient]:
    """Gradient of weight [M, C / groups, *kernel] and bias [M] from [N, C, *in] and [N, M, *out]."""
    geometry = Geometry(module.kernel_size, module.stride, module.dilation, module.groups)
    gradients: dict[str, PerSampleGradient] = {"weight": Correlation(delta, _padded(module, activation), geometry)}
    if module.bias is not None:
        gradients["bias"] = Direct(delta.flatten(2).sum(2))
    return gradients
