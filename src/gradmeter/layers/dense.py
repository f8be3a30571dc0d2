"""Dense layers: one position per sample has a closed form, more positions are a convolution of width one."""

from __future__ import annotations

from torch import Tensor, nn

from gradmeter.kernels.portable import PerSampleGradient
from gradmeter.layers.gradients import Correlation, Direct, Geometry, Outer
from gradmeter.layers.registry import measures

_POINT = Geometry(kernel=(1,), stride=(1,), dilation=(1,), groups=1)


class _Pointwise(Correlation):
    """The gradient [N, M, K] of a dense layer over positions."""

    def materialise(self, rows: slice) -> Tensor:
        return super().materialise(rows).squeeze(-1)


@measures(nn.Linear)
def linear(module: nn.Linear, activation: Tensor, delta: Tensor) -> dict[str, PerSampleGradient]:
    """Gradient of weight [M, K] and bias [M] from inputs [N, ..., K] and output gradients [N, ..., M]."""
    gradients: dict[str, PerSampleGradient] = {}
    if activation.dim() == 2:
        gradients["weight"] = Outer(delta, activation)
        bias = delta
    else:
        delta, activation = delta.flatten(1, -2), activation.flatten(1, -2)
        gradients["weight"] = _Pointwise(delta.transpose(1, 2), activation.transpose(1, 2), _POINT)
        bias = delta.sum(1)
    if module.bias is not None:
        gradients["bias"] = Direct(bias)
    return gradients
