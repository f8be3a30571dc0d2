"""The backward pass, which passes each planned operation to a callback as soon as its gradient is computed.

It computes neither weight gradients nor the gradient of the network's input, and does not change `.grad`. Gradients are
freed as soon as the callback returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.utils.hooks import RemovableHandle

from gradmeter.reading.capture.graph import Graph
from gradmeter.reading.capture.operation import Operation
from gradmeter.reading.capture.plan import Plan, Planned
from gradmeter.reading.network import sound_gradients


class Unplanned(Exception):
    """An output without a gradient at planning time has one now."""


def propagate(
    graph: Graph,
    plan: Plan,
    logits: Tensor,
    direction: Tensor,
    receive: Callable[[Planned, Operation], None],
) -> None:
    """Propagate start vectors back from the logits, and pass each operation to `receive` while its saved tensors exist.

    Args:
        graph: graph of the logits.
        plan: plan for this graph.
        logits: [N, C].
        direction: start vectors [N, C], of the logits' dtype.
        receive: called once for each operation that has a gradient.

    Raises:
        Unplanned: if the plan does not fit the data; make a new one.
    """
    busy = False

    def hand_over(planned: Planned, gradients: tuple[Tensor | None, ...]) -> None:
        nonlocal busy
        # A rule may call autograd, which runs the same hooks again.
        if busy:
            return
        busy = True
        try:
            _hand_over(graph, planned, gradients, len(logits), receive)
        finally:
            busy = False

    # Remove every hook: it refers to the graph that holds it, a cycle that Python's garbage collector cannot see.
    handles: list[RemovableHandle] = []
    terminal: list[tuple[Planned, list[GradientEdge]]] = []
    try:
        for planned in plan.operations:
            node: Any = graph.nodes[planned.index]
            if planned.terminal or plan.deferred:
                terminal.append((planned, [GradientEdge(node, output) for output in range(len(planned.axes))]))
            else:
                handles.append(node.register_prehook(lambda gradients, planned=planned: hand_over(planned, gradients)))
        edges = [edge for _, edges in terminal for edge in edges]
        keep = plan.keep or plan.deferred
        with sound_gradients(graph.nodes):
            gradients = iter(
                torch.autograd.grad(logits, edges, grad_outputs=direction, allow_unused=True, retain_graph=keep)
                if edges
                else ()
            )
        for planned, edges in terminal:
            hand_over(planned, tuple(next(gradients) for _ in edges))
    finally:
        for handle in handles:
            handle.remove()


def replay(graph: Graph, plan: Plan, samples: int, receive: Callable[[Planned, Operation], None]) -> None:
    """Pass each operation to `receive` with the gradients of `Plan.gradients`; the graph must be kept."""
    assert plan.gradients is not None
    for planned in reversed(plan.operations):
        _hand_over(graph, planned, plan.gradients[planned.index], samples, receive)


def _hand_over(
    graph: Graph,
    planned: Planned,
    gradients: tuple[Tensor | None, ...],
    samples: int,
    receive: Callable[[Planned, Operation], None],
) -> None:
    for gradient, axis in zip(gradients, planned.axes, strict=True):
        if gradient is not None and axis is None and gradient.any():
            raise Unplanned
    # An empty gradient, for example of a sequence of length 0, adds nothing.
    if not planned.silent and any(gradient is not None and gradient.numel() for gradient in gradients):
        receive(planned, Operation(graph.nodes[planned.index], gradients, planned.axes, samples, planned.inputs))
