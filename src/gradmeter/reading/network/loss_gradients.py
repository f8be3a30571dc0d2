"""PyTorch's own backward pass, without the gradients that corrupt its memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradmeter.reading.network.sound_gradients import corrupts_memory, nodes_below


def loss_gradients(logits: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """The gradients of the summed loss of the predicted classes.

    Args:
        logits: [N, C], with their graph.
        parameters: what the loss is differentiated by.

    Returns:
        A gradient for each parameter; None if it does not affect the loss, or if its gradient may corrupt memory.
    """
    loss = (logits.logsumexp(dim=1) - logits.amax(dim=1)).sum()
    corrupting = filter(corrupts_memory, nodes_below([logits.grad_fn]))
    # Below their weights and biases.
    below = nodes_below([child for node in corrupting for child, _ in node.next_functions[1:]])
    left_out = {id(node.variable) for node in below if hasattr(node, "variable")}
    wanted = [parameter for parameter in parameters if id(parameter) not in left_out]
    gradients = iter(torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ())
    return tuple(None if id(parameter) in left_out else next(gradients) for parameter in parameters)
