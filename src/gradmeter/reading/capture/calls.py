"""Calls of modules that have their own rule, with their inputs and their outputs in the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.hooks import Hooks


@dataclass(frozen=True)
class Call:
    """One call of a module in the forward pass.

    Attributes:
        layer: the module's name.
        module: the module.
        activation: its input, detached.
        version: version counter of the input when the module was called.
        source: the operation that computed the input; None if the input needs no gradient.
        edge: its output in the graph.
    """

    layer: str
    module: nn.Module
    activation: Tensor
    version: int
    source: Node | None
    edge: GradientEdge

    def require_input_kept(self) -> None:
        """Raise UnsupportedModelError if the input was modified in place since the call, because the rule reads it."""
        if self.activation._version != self.version:
            raise UnsupportedModelError(
                f"the network overwrites the input of layer {self.layer!r} in place, but the rule for "
                f"{type(self.module).__name__} needs it; expected an out-of-place operation"
            )

    def inside(self) -> set[Node]:
        """The operations of the graph between the input and the output."""
        nodes, stack = {self.edge.node}, [self.edge.node]
        while stack:
            for child, _ in stack.pop().next_functions:
                if child is not None and child is not self.source and child not in nodes:
                    nodes.add(child)
                    stack.append(child)
        return nodes


@contextmanager
def recorded_calls(modules: Mapping[str, nn.Module]) -> Iterator[list[Call]]:
    """Record the calls of the given modules, by name, inside the block.

    Raises:
        UnsupportedModelError: if a module is not called with exactly one tensor, or does not return a tensor.
    """
    calls: list[Call] = []
    versions: list[int] = []

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        versions.append(sum(value._version for value in (*args, *kwargs.values()) if isinstance(value, Tensor)))

    def after_for(layer: str) -> Callable[..., None]:
        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            version = versions.pop()
            inputs = [*args, *kwargs.values()]
            if len(inputs) != 1 or not isinstance(inputs[0], Tensor) or not isinstance(output, Tensor):
                raise UnsupportedModelError(
                    f"layer {layer!r} is called with {len(inputs)} arguments and returns a {type(output).__name__}; "
                    f"the rule for {type(module).__name__} requires one input tensor and one output tensor"
                )
            if output.requires_grad:
                edge = get_gradient_edge(output)
                calls.append(Call(layer, module, inputs[0].detach(), version, inputs[0].grad_fn, edge))

        return after

    with Hooks() as hooks:
        for name, module in modules.items():
            hooks.before(module, before, with_kwargs=True)
            hooks.after(module, after_for(name), with_kwargs=True)
        yield calls
