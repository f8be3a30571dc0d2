"""The inputs and outputs of the measured layers in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.hooks import Hooks
from gradmeter.reading.pixels.paths import LinearPaths
from gradmeter.reading.pixels.taps import axes_of, has_taps


@dataclass(frozen=True)
class Kept:
    """One call of a layer whose gradients are products of its input and the logits' derivative.

    Attributes:
        layer: name of the layer.
        activation: its input, with its graph if gradients are enabled.
        version: version of the input when the layer was called.
        output: its output.
        output_version: version of the output when the layer returned it.
    """

    layer: str
    activation: Tensor
    version: int
    output: Tensor
    output_version: int

    @property
    def output_unchanged(self) -> bool:
        """Whether the network left the output as it was."""
        return self.output._version == self.output_version

    def require_input_kept(self) -> None:
        """Raise UnsupportedModelError if the network modified the input in place after the call."""
        if self.activation._version != self.version:
            raise UnsupportedModelError(
                f"the network overwrites the input of layer {self.layer!r} in place, but its gradient needs it; "
                "expected an out-of-place operation"
            )


@contextmanager
def keeping(modules: Mapping[str, nn.Module], paths: LinearPaths) -> Iterator[dict[str, list[Kept]]]:
    """Keep the calls of the named modules inside the block, and follow their outputs."""
    calls: dict[str, list[Kept]] = {layer: [] for layer in modules}

    def after_for(layer: str) -> Callable[..., None]:
        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            activation = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
            if activation.is_inference() or output.is_inference():  # a call that autograd does not see
                return
            if output.dim() == 4 and has_taps(module):
                paths.begin((layer, len(calls[layer])), output, axes_of(module))
            calls[layer].append(Kept(layer, activation, activation._version, output.detach(), output._version))

        return after

    with Hooks() as hooks:
        for layer, module in modules.items():
            hooks.after(module, after_for(layer), with_kwargs=True)
        with paths:
            yield calls


@dataclass
class CutLayer:
    """A layer whose output is a leaf of the graph of the logits.

    Attributes:
        module: the layer.
        parameters: the parameters to measure, by name.
        calls: for each call the arguments and the leaf.
    """

    module: nn.Module
    parameters: Mapping[str, nn.Parameter]
    calls: list[tuple[tuple[Any, ...], dict[str, Any], Tensor]] = field(default_factory=list)


@contextmanager
def cutting(layers: Collection[CutLayer]) -> Iterator[None]:
    """Make the outputs of layers leaves of the graph inside the block, and record their calls in the layers."""

    def after_for(layer: CutLayer) -> Callable[..., Any]:
        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            if not torch.is_grad_enabled():  # the network treats what follows as a constant
                return output
            kept = output if output.requires_grad else output.detach().requires_grad_()
            layer.calls.append((_copied(args), _copied(kwargs), kept))
            # The network may modify its copy in place.
            return kept.clone()

        return after

    with Hooks() as hooks:
        for layer in layers:
            hooks.after(layer.module, after_for(layer), with_kwargs=True)
        yield


def _copied(value: Any) -> Any:
    """Arguments without their graph; copies, because the network may modify them in place later."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: _copied(entry) for name, entry in value.items()}
    return tuple(map(_copied, value)) if isinstance(value, tuple | list) else value
