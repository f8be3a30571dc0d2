"""PyTorch's own backward pass, without the gradients that corrupt its memory or crash it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node

from gradmeter.reading.network.sound_gradients import corrupts_memory, nodes_below


def loss_gradients(logits: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """The gradients of the summed loss of the predicted classes.

    Args:
        logits: [N, C], with their graph.
        parameters: what the loss is differentiated by.

    Returns:
        A gradient for each parameter; None if it does not affect the loss, or if its gradient may corrupt memory or
        crash.
    """
    loss = (logits.logsumexp(dim=1) - logits.amax(dim=1)).sum()
    wanted = {id(parameter): parameter for parameter in parameters}

    def leave_out(node: Node) -> None:
        """Leave out what lies below the operation's weight and bias."""
        for leaf in _leaves([child for child, _ in node.next_functions[1:]]):
            wanted.pop(leaf, None)

    nodes = [*nodes_below([logits.grad_fn])]
    for node in filter(corrupts_memory, nodes):
        leave_out(node)
    # The first layers first: a layer may be the first one of those that are wanted.
    for node in reversed(nodes):
        if node.name() == "NativeGroupNormBackward0" and wanted.keys().isdisjoint(_leaves([node.next_functions[0][0]])):
            leave_out(node)
    gradients = torch.autograd.grad(loss, [*wanted.values()], allow_unused=True) if wanted else ()
    by_parameter = dict(zip(wanted, gradients, strict=True))
    return tuple(by_parameter.get(id(parameter)) for parameter in parameters)


def _leaves(nodes: Iterable[Node | None]) -> Iterator[int]:
    """Ids of the parameters and inputs that these operations depend on."""
    return (id(node.variable) for node in nodes_below(nodes) if hasattr(node, "variable"))
