"""One forward and one backward pass that hand over, for every layer, its input and the gradient of its output.

Neither weight gradients nor the gradient of the first layer's input are ever computed, `.grad` and `requires_grad`
stay untouched, and frozen parameters are read like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils.hooks import RemovableHandle

from gradmeter.errors import InputError, UnsupportedModelError


@dataclass
class Call:
    """One call of a layer in the forward pass; `delta` arrives in the backward pass."""

    layer: str
    module: nn.Module
    activation: Tensor
    version: int
    edge: GradientEdge
    delta: Tensor | None = None


@dataclass
class Capture:
    """What one forward pass left behind: the logits and the calls, in order."""

    calls: list[Call] = field(default_factory=list)

    def backward(self, logits: Tensor, direction: Tensor) -> None:
        """Propagate [N, C] back to the output of every call and free the graph.

        Raises:
            UnsupportedModelError: if the network overwrote the input of a layer after the layer had read it, or if
                its logits are cut off from every layer.
        """
        for call in self.calls:
            if call.activation._version != call.version:
                raise UnsupportedModelError(
                    f"the network overwrites the input of layer {call.layer!r} in place after the layer has read it; "
                    "expected an input that stays as it is: use the out-of-place operation there"
                )
        if not logits.requires_grad:
            raise UnsupportedModelError(
                "the network's logits are cut off from its layers (detached, or no longer floating point); "
                "expected logits that can be differentiated by the weights"
            )
        # The hooks on the outputs collect the gradients; the edges only say where to stop.
        torch.autograd.grad(logits, [call.edge for call in self.calls], grad_outputs=direction, allow_unused=True)


class _Attach(torch.autograd.Function):
    """Let a tensor that no parameter made differentiable take part in the graph, without a copy."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, anchor: Tensor) -> Tensor:
        ctx.mark_dirty(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None]:
        return None, None


def _input_of(layer: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    given = [*args, *kwargs.values()]
    if len(given) != 1 or not isinstance(given[0], Tensor):
        raise UnsupportedModelError(f"layer {layer!r} is called with {len(given)} arguments; expected one tensor")
    return given[0]


@contextmanager
def capturing(layers: Mapping[str, nn.Module]) -> Iterator[Capture]:
    """Record every call of the given modules, {layer name: module}, until the block ends; hooks are gone after it.

    The backward pass belongs into the block too. A hook on an output refers to its call, which refers to the graph,
    which holds the hook: a circle that Python's garbage collector cannot see, so every hook is removed in the end.
    """
    capture = Capture()
    handles: list[RemovableHandle] = []

    def hook_for(layer: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            activation = _input_of(layer, args, kwargs)
            if not torch.is_grad_enabled():
                raise UnsupportedModelError(
                    f"layer {layer!r} is called under torch.no_grad or torch.inference_mode, where it has no gradient; "
                    "expected a forward pass without them: freeze parameters with requires_grad_(False) instead"
                )
            if not output.requires_grad:
                output = _Attach.apply(output, torch.empty((), requires_grad=True))  # type: ignore[no-untyped-call]
            call = Call(layer, module, activation.detach(), activation._version, get_gradient_edge(output))
            handles.append(output.register_hook(lambda gradient: setattr(call, "delta", gradient)))
            capture.calls.append(call)

        return hook

    # Before the user's own hooks, which may replace the output that the layer computed.
    for layer, module in layers.items():
        handles.append(module.register_forward_hook(hook_for(layer), prepend=True, with_kwargs=True))
    try:
        yield capture
    finally:
        for handle in handles:
            handle.remove()


def require_every_use_captured(model: nn.Module, logits: Tensor, capture: Capture) -> None:
    """Check that no parameter acts on the logits other than through the calls that were captured.

    Raises:
        UnsupportedModelError: if a layer's parameters are used without calling the layer.
    """
    uses: Counter[int] = Counter()
    seen, stack = set(), [logits.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for following, _ in node.next_functions:
            if following is not None and hasattr(following, "variable"):
                uses[id(following.variable)] += 1
            else:
                stack.append(following)
    called, reaching = Counter[int](), Counter[int]()
    for call in capture.calls:
        own = [id(parameter) for parameter in call.module.parameters(recurse=False)]
        called.update(own)
        if call.edge.node in seen:
            reaching.update(own)
    for name, parameter in model.named_parameters():
        key = id(parameter)
        if uses[key] > reaching[key] or (not called[key] and not parameter.requires_grad):
            raise UnsupportedModelError(
                f"parameter {name!r} is used without calling the layer that owns it, or never; "
                "expected every parameter to act through its own layer's call"
            )


def require_finite(logits: Tensor) -> None:
    """Raise InputError naming the samples whose logits are not finite."""
    bad = (~torch.isfinite(logits).all(dim=1)).nonzero().flatten().tolist()
    if bad:
        named = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise InputError(
            f"the network's logits are not finite for {len(bad)} of {len(logits)} samples (index {named}); "
            "expected finite numbers: check the input and the weights"
        )
