"""The inputs and outputs of the measured layers in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.hooks import Hooks
from gradmeter.reading.pixels.blockwise import CutLayer


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
def keeping(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Kept]]]:
    """Keep the calls of the named modules inside the block."""
    calls: dict[str, list[Kept]] = {layer: [] for layer in modules}

    def after_for(layer: str) -> Callable[..., None]:
        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            activation = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
            calls[layer].append(Kept(layer, activation, activation._version, output.detach(), output._version))

        return after

    with Hooks() as hooks:
        for layer, module in modules.items():
            hooks.after(module, after_for(layer), with_kwargs=True)
        yield calls


@contextmanager
def cutting(layers: Mapping[str, CutLayer]) -> Iterator[None]:
    """Make the outputs of layers leaves of the graph inside the block, and record their calls in the layers."""

    def after_for(layer: str) -> Callable[..., Any]:
        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            if not isinstance(output, Tensor):
                raise UnsupportedModelError(
                    f"layer {layer!r} ({type(module).__name__}) returns a {type(output).__name__}; expected a layer "
                    "that returns one tensor"
                )
            torch.set_grad_enabled(True)
            kept = output if output.requires_grad else output.detach().requires_grad_()
            layers[layer].calls.append((_copied(args), _copied(kwargs), kept))
            # The network may modify its copy in place.
            return kept.clone()

        return after

    with Hooks() as hooks:
        for layer, cut in layers.items():
            hooks.after(cut.module, after_for(layer), with_kwargs=True)
        yield


def _copied(value: Any) -> Any:
    """Arguments without their graph; copies, because the network may modify them in place later."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: _copied(entry) for name, entry in value.items()}
    return tuple(map(_copied, value)) if isinstance(value, tuple | list) else value
