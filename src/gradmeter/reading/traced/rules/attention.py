"""Products of activations, and the softmax between them."""

from __future__ import annotations

import torch

from gradmeter.reading.traced.rules.step import Gradients, Step, register

_ATEN = torch.ops.aten


@register(_ATEN.bmm.default)
def _products(step: Step) -> Gradients:
    left, right = step.args
    return {0: step.gradient @ right.transpose(1, 2), 1: left.transpose(1, 2) @ step.gradient}


@register(_ATEN._softmax.default)
def _softmax(step: Step) -> Gradients:
    weighted = step.gradient * step.output
    return {0: weighted - step.output * weighted.sum(step.args[1], keepdim=True)}
