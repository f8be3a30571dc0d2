"""Calls of modules that have a rule of their own: what was given to them and where their output stands in the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.hooks import of_this_thread


@dataclass(frozen=True)
class Call:
    """One call of a module in the forward pass.

    Attributes:
        layer: the module's name.
        module: the module.
        activation: its input, without history.
        version: of the input when the module was called.
        source: the operation that made the input, None where the input needs no gradient.
        edge: its output.
    """

    layer: str
    module: nn.Module
    activation: Tensor
    version: int
    source: Node | None
    edge: GradientEdge

    def require_input_kept(self) -> None:
        """Raise UnsupportedModelError if the input was written over since: the rule would read what was written."""
        if self.activation._version != self.version:
            raise UnsupportedModelError(
                f"the network overwrites the input of layer {self.layer!r} in place, which the rule registered for "
                f"{type(self.module).__name__} reads; expected an input that stays as it is"
            )

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
    versions: list[int] = []

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        versions.append(sum(value._version for value in (*args, *kwargs.values()) if isinstance(value, Tensor)))

    def after_for(layer: str) -> Callable[..., None]:
        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            version = versions.pop()
            given = [*args, *kwargs.values()]
            if len(given) != 1 or not isinstance(given[0], Tensor) or not isinstance(output, Tensor):
                raise UnsupportedModelError(
                    f"layer {layer!r} is called with {len(given)} arguments and returns a {type(output).__name__}; "
                    f"the rule registered for {type(module).__name__} expects one tensor in and one out"
                )
            if output.requires_grad:
                edge = get_gradient_edge(output)
                calls.append(Call(layer, module, given[0].detach(), version, given[0].grad_fn, edge))

        return after

    handles = []
    for name, module in modules.items():
        handles.append(module.register_forward_pre_hook(of_this_thread(before), with_kwargs=True))
        # Before the user's own hooks, which may replace the output that the layer computed.
        after = of_this_thread(after_for(name))
        handles.append(module.register_forward_hook(after, prepend=True, with_kwargs=True))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
