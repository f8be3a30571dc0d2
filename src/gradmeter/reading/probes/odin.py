"""ODIN: maximum softmax probability at a high temperature for a perturbed input (Liang, Li, Srikant 2018)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network import answer, nodes_below, sound_gradients


def odin(
    temperature: float = 1000.0, epsilon: float = 0.0014
) -> Callable[[nn.Module, Inputs, Tensor], dict[str, Tensor]]:
    """A probe that returns "odin", the maximum softmax probability, which is high for known inputs.

    Args:
        temperature: divisor of the logits.
        epsilon: step of each input value against the sign of the gradient of -log p, in units of the network's input.
    """

    def probe(network: nn.Module, inputs: Inputs, logits: Tensor) -> dict[str, Tensor]:
        leaf_inputs = inputs.map(
            lambda tensor: tensor.clone().requires_grad_() if tensor.is_floating_point() else tensor
        )
        leaves = [tensor for tensor in leaf_inputs.tensors if tensor.requires_grad]
        if not leaves:
            # Integer inputs, such as tokens, cannot be perturbed.
            return {"odin": _confidence(logits, temperature)}
        logits = answer(network, leaf_inputs)
        losses = -torch.log_softmax(logits / temperature, dim=1).amax(dim=1)
        with sound_gradients(nodes_below([losses.grad_fn])):
            steps = torch.autograd.grad(losses.sum(), leaves, allow_unused=True)
        gradients = dict(zip(map(id, leaves), steps, strict=True))

        def perturbed(tensor: Tensor) -> Tensor:
            gradient = gradients.get(id(tensor))
            return tensor.detach() if gradient is None else tensor.detach() - epsilon * gradient.sign()

        with torch.no_grad():
            return {"odin": _confidence(answer(network, leaf_inputs.map(perturbed)), temperature)}

    return probe


def _confidence(logits: Tensor, temperature: float) -> Tensor:
    return torch.softmax(logits.detach().double() / temperature, dim=1).amax(dim=1)
