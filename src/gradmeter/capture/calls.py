"""Calls of modules that have a rule of their own: what was given to them and where their output stands in the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from gradmeter.errors import UnsupportedModelError


@dataclass(frozen=True)
class Call:
    """One call of a module in the forward pass.

    Attributes:
        layer: the module's name.
        module: the module.
        activation: its input, without history.
        source: the operation that made the input, None where the input needs no gradient.
        edge: its output.
    """

    layer: str
    module: nn.Module
    activation: Tensor
    source: Node | None
    edge: GradientEdge

    def inside(self) -> set[Node]:
        """The operations of the graph between the input and the output."""
        found, stack = {self.edge.node}, [self.edge.node]
        while stack:
            for child, _ in stack.pop().next_functions:
                if child is not None and child is not self.source and child not in found:
                    found.add(child)
                    stack.append(child)
        return found


@contextmanager
def recorded_calls(modules: Mapping[str, nn.Module]) -> Iterator[list[Call]]:
    """Record the calls of the given modules, {name: module}, until the block ends.

    Raises:
        UnsupportedModelError: if one is not called with one tensor, or does not return one.
    """
    calls: list[Call] = []

    def hook_for(layer: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            given = [*args, *kwargs.values()]
            if len(given) != 1 or not isinstance(given[0], Tensor) or not isinstance(output, Tensor):
                raise UnsupportedModelError(
                    f"layer {layer!r} is called with {len(given)} arguments and returns a {type(output).__name__}; "
                    f"the rule registered for {type(module).__name__} expects one tensor in and one out"
                )
            if output.requires_grad:
                edge = get_gradient_edge(output)
                calls.append(Call(layer, module, given[0].detach(), given[0].grad_fn, edge))

        return hook

    # Before the user's own hooks, which may replace the output that the layer computed.
    handles = [
        module.register_forward_hook(hook_for(name), prepend=True, with_kwargs=True) for name, module in modules.items()
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
