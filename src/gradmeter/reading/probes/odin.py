"""ODIN: softmax at a high temperature, of an input that was pushed towards its answer (Liang, Li, Srikant 2018)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network import answer


def odin(
    temperature: float = 1000.0, epsilon: float = 0.0014
) -> Callable[[nn.Module, Inputs, Tensor], dict[str, Tensor]]:
    """A probe that gives "odin", the largest softmax probability, high where the input is known.

    Args:
        temperature: T, by which the logits are divided.
        epsilon: how far each number of the input moves against the sign of the gradient of -log p, in units of the
            network's input.
    """

    def probe(network: nn.Module, inputs: Inputs, logits: Tensor) -> dict[str, Tensor]:
        moving = inputs.map(lambda tensor: tensor.clone().requires_grad_() if tensor.is_floating_point() else tensor)
        leaves = [tensor for tensor in moving.tensors if tensor.requires_grad]
        if not leaves:
            # Tokens cannot be pushed.
            return {"odin": _confidence(logits, temperature)}
        logits = answer(network, moving)
        losses = -torch.log_softmax(logits / temperature, dim=1).amax(dim=1)
        gradients = dict(
            zip(map(id, leaves), torch.autograd.grad(losses.sum(), leaves, allow_unused=True), strict=True)
        )

        def pushed(tensor: Tensor) -> Tensor:
            gradient = gradients.get(id(tensor))
            return tensor.detach() if gradient is None else tensor.detach() - epsilon * gradient.sign()

        with torch.no_grad():
            return {"odin": _confidence(answer(network, moving.map(pushed)), temperature)}

    return probe


def _confidence(logits: Tensor, temperature: float) -> Tensor:
    return torch.softmax(logits.detach().double() / temperature, dim=1).amax(dim=1)
