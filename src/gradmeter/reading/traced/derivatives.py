"""Whether a network's gradients are those of the operations of its forward pass, from which a trace derives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.network import answer, measuring

# Rounding in float32 changes the statistics of most samples by less than this share of the largest ...
_DIFFERENCE = 1e-2
# ... of those that are proportional to the gradient, which come first.
_PROPORTIONAL = slice(0, 6)
_ADVICE = "fit with --reads forward"


def require_no_functions(network: nn.Module, inputs: Tensor) -> None:
    """Refuse a network with a torch.autograd.Function, whose backward pass may be any function.

    Raises:
        UnsupportedModelError: if the logits depend on a parameter through one.
    """
    with measuring(network, gradients=True), torch.enable_grad():
        stack = [answer(network, Inputs((inputs,), {})).grad_fn]
    visited = set(stack)
    while stack:
        if (node := stack.pop()) is None:
            continue
        if isinstance(node, BackwardCFunction):
            name = type(node).__name__.removesuffix("Backward")
            raise UnsupportedModelError(
                f"the network uses the torch.autograd.Function {name}, whose backward pass cannot be written to ONNX; "
                f"expected operations of PyTorch: {_ADVICE}"
            )
        children = {child for child, _ in node.next_functions} - visited
        visited |= children
        stack.extend(children)


def require_derivatives_of_autograd(
    network: nn.Module, inputs: Tensor, traced: Mapping[str, Tensor], layers: Sequence[str], *, biases: bool
) -> None:
    """Refuse a network whose gradients are not those that a trace gives, because a hook or `no_grad` changes them.

    Args:
        network: the network, in eval mode.
        inputs: [N, ...] some inputs.
        traced: by pseudo-label the statistics [N, layers, 8] of the traced gradients, for a start vector of size 1.
        layers: names of the layers.
        biases: whether biases count.

    Raises:
        UnsupportedModelError: if the statistics of a layer are others than a `GradientMeter`'s for most of the inputs.
    """
    readings = GradientMeter(network, tuple(traced), biases=biases)(inputs)
    rows = [readings.layers.index(layer) for layer in layers]
    for label, values in traced.items():
        measured = readings.for_pseudo_label(label)
        scale = torch.as_tensor(measured.log_scale).exp()[:, None, None]
        expected = torch.as_tensor(measured.values)[:, rows, _PROPORTIONAL] / scale
        difference = (values[:, :, _PROPORTIONAL] - expected).abs().amax(2)
        changed = (difference > _DIFFERENCE * expected.abs().amax(2)).double().mean(0) > 0.5
        if changed.any():
            raise UnsupportedModelError(
                f"the gradients of layer {layers[int(changed.nonzero()[0])]!r} are not those of the operations of the "
                f"forward pass; expected a network without hooks, and without parts under no_grad, that change them: "
                f"{_ADVICE}"
            )
