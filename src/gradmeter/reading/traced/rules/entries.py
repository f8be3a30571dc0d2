"""Functions of single entries."""

from __future__ import annotations

import math

import torch

from gradmeter.reading.traced.rules.step import Gradients, Step, register

_ATEN = torch.ops.aten


@register(_ATEN.relu.default)
def _relu(step: Step) -> Gradients:
    return {0: torch.where(step.output > 0, step.gradient, 0.0)}


@register(_ATEN.leaky_relu.default)
def _leaky_relu(step: Step) -> Gradients:
    return {0: torch.where(step.args[0] > 0, step.gradient, step.gradient * step.arg(1, 0.01))}


@register(_ATEN.hardtanh.default)
def _hardtanh(step: Step) -> Gradients:
    inputs, least, most = step.args[0], step.arg(1, -1.0), step.arg(2, 1.0)
    return {0: torch.where((inputs > least) & (inputs < most), step.gradient, 0.0)}


@register(_ATEN.clamp.default)
def _clamp(step: Step) -> Gradients:
    inputs, least, most = step.args[0], step.arg(1, None), step.arg(2, None)
    gradient = step.gradient
    gradient = gradient if least is None else torch.where(inputs >= least, gradient, 0.0)
    gradient = gradient if most is None else torch.where(inputs <= most, gradient, 0.0)
    return {0: gradient}


@register(_ATEN.sigmoid.default)
def _sigmoid(step: Step) -> Gradients:
    return {0: step.gradient * step.output * (1 - step.output)}


@register(_ATEN.tanh.default)
def _tanh(step: Step) -> Gradients:
    return {0: step.gradient * (1 - step.output * step.output)}


@register(_ATEN.neg.default)
def _neg(step: Step) -> Gradients:
    return {0: -step.gradient}


@register(_ATEN.exp.default)
def _exp(step: Step) -> Gradients:
    return {0: step.gradient * step.output}


@register(_ATEN.log.default)
def _log(step: Step) -> Gradients:
    return {0: step.gradient / step.args[0]}


@register(_ATEN.sqrt.default)
def _sqrt(step: Step) -> Gradients:
    return {0: step.gradient / (2 * step.output)}


@register(_ATEN.rsqrt.default)
def _rsqrt(step: Step) -> Gradients:
    return {0: step.gradient * step.output / step.args[0] / -2}


@register(_ATEN.abs.default)
def _abs(step: Step) -> Gradients:
    return {0: step.gradient * step.args[0].sign()}


@register(_ATEN.pow.Tensor_Scalar)
def _pow(step: Step) -> Gradients:
    inputs, exponent = step.args
    return {0: step.gradient * exponent * inputs ** (exponent - 1)}


@register(_ATEN.elu.default)
def _elu(step: Step) -> Gradients:
    inputs, alpha, scale, speed = step.args[0], step.arg(1, 1.0), step.arg(2, 1.0), step.arg(3, 1.0)
    below = step.output + alpha * scale
    return {0: step.gradient * torch.where(inputs > 0, scale, below * speed)}


@register(_ATEN.gelu.default)
def _gelu(step: Step) -> Gradients:
    inputs = step.args[0]
    if step.kwargs.get("approximate", "none") == "none":
        share = (1 + torch.erf(inputs / math.sqrt(2))) / 2
        slope = (inputs * inputs / -2).exp() / math.sqrt(2 * math.pi)
        return {0: step.gradient * (share + inputs * slope)}
    bent = torch.tanh(math.sqrt(2 / math.pi) * (inputs + 0.044715 * inputs**3))
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * inputs * inputs) * (1 - bent * bent)
    return {0: step.gradient * (1 + bent + inputs * slope) / 2}
