"""Functions of two tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmeter.reading.traced.rules.step import Gradients, Step, Unruled, register

_ATEN = torch.ops.aten


@register(_ATEN.add.Tensor, _ATEN.add.Scalar)
def _add(step: Step) -> Gradients:
    return _fitted(step, step.gradient, step.gradient)


@register(_ATEN.sub.Tensor, _ATEN.sub.Scalar)
def _sub(step: Step) -> Gradients:
    return _fitted(step, step.gradient, -step.gradient)


@register(_ATEN.mul.Tensor, _ATEN.mul.Scalar)
def _mul(step: Step) -> Gradients:
    return _fitted(step, step.gradient * step.args[1], step.gradient * step.args[0])


@register(_ATEN.div.Tensor, _ATEN.div.Scalar)
def _div(step: Step) -> Gradients:
    return _fitted(step, step.gradient / step.args[1], -step.gradient * step.output / step.args[1])


@register(_ATEN.where.self)
def _where(step: Step) -> Gradients:
    condition = step.args[0]
    return {
        index: step.fitted(index, torch.where(chosen, step.gradient, 0.0))
        for index, chosen in ((1, condition), (2, ~condition))
        if index in step.needed
    }


def _fitted(step: Step, *gradients: Tensor) -> Gradients:
    """Return the gradients of both arguments, each with the shape of its argument."""
    if step.kwargs.get("alpha", 1) != 1:
        raise Unruled("a factor")
    return {index: step.fitted(index, gradients[index]) for index in step.needed}
