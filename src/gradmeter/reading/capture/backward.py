"""The backward pass that stops at the parameters: every planned operation is handed over as its gradient arrives.

Weight gradients and the gradient of the network's input are never computed, `.grad` stays untouched, and a gradient
is forgotten as soon as it has been read.
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


class Unplanned(Exception):
    """An operation that was silent when the plan was made has a gradient now."""


def propagate(
    graph: Graph,
    plan: Plan,
    logits: Tensor,
    direction: Tensor,
    receive: Callable[[Planned, Operation], None],
) -> None:
    """Propagate [N, C] from the logits back and hand each operation to `receive` while its saved tensors live.

    A hook refers to the graph that holds it: a circle that Python's garbage collector cannot see, so every hook is
    removed in the end.

    Args:
        graph: of the logits.
        plan: for this graph.
        logits: [N, C].
        direction: [N, C], of the logits' type.
        receive: called once for each operation that a gradient reaches.

    Raises:
        Unplanned: if the plan does not fit the data and has to be made anew.
    """
    busy = False

    def hand_over(planned: Planned, gradients: tuple[Tensor | None, ...]) -> None:
        nonlocal busy
        # A rule may ask autograd for more, which passes by the same hooks.
        if busy:
            return
        busy = True
        try:
            _hand_over(graph, planned, gradients, len(logits), receive)
        finally:
            busy = False

    handles: list[RemovableHandle] = []
    terminal: list[tuple[Planned, list[GradientEdge]]] = []
    for planned in plan.operations:
        node: Any = graph.nodes[planned.index]
        if planned.terminal or plan.deferred:
            terminal.append((planned, [GradientEdge(node, output) for output in range(len(planned.axes))]))
        else:
            handles.append(node.register_prehook(lambda gradients, planned=planned: hand_over(planned, gradients)))
    try:
        edges = [edge for _, edges in terminal for edge in edges]
        keep = plan.keep or plan.deferred
        arrived = iter(
            torch.autograd.grad(logits, edges, grad_outputs=direction, allow_unused=True, retain_graph=keep)
            if edges
            else ()
        )
        for planned, edges in terminal:
            hand_over(planned, tuple(next(arrived) for _ in edges))
    finally:
        for handle in handles:
            handle.remove()


def hand_over_arrived(graph: Graph, plan: Plan, samples: int, receive: Callable[[Planned, Operation], None]) -> None:
    """Hand each operation over with the gradients that planning left in `Plan.arrived`; the graph must be kept."""
    assert plan.arrived is not None
    for planned in reversed(plan.operations):
        _hand_over(graph, planned, plan.arrived[planned.index], samples, receive)


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
    # A gradient without entries, of a sequence of no steps say, adds nothing.
    if not planned.silent and any(gradient is not None and gradient.numel() for gradient in gradients):
        receive(planned, Operation(graph.nodes[planned.index], gradients, planned.axes, samples, planned.inputs))
