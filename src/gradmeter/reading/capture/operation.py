"""The argument of a rule: one operation of the graph and the gradients of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from gradmeter.reading.capture.graph import metadata
from gradmeter.reading.capture.sample_axis import OwnedRows, SampleAxis, Scattered, Shape
from gradmeter.reading.network import laid_out, sound_gradients


@dataclass(frozen=True)
class Operation:
    """One operation that uses parameters; valid while its saved tensors exist.

    Attributes:
        node: the operation in the autograd graph.
        gradients: gradient of each output; None if the logits do not depend on the output.
        axes: sample axis of each output; None if its gradient is None.
        samples: N.
        inputs: numbers of the inputs that depend on a parameter.
    """

    node: Node
    gradients: tuple[Tensor | None, ...]
    axes: tuple[SampleAxis | OwnedRows | Scattered | None, ...]
    samples: int
    inputs: tuple[int, ...]

    @property
    def delta(self) -> Tensor:
        """The gradient of the first output; half precision is converted to float32."""
        delta = self.gradients[0]
        assert delta is not None
        return _widened(delta)

    def scaled(self, factor: str) -> Tensor:
        """`delta` times the conjugate of a number that the operation saved."""
        number = self.saved(factor).conjugate()
        return self.delta if number == 1 else self.delta * number

    @property
    def deltas(self) -> list[Tensor | None]:
        """The gradient of every output, converted like `delta`."""
        return [None if gradient is None else _widened(gradient) for gradient in self.gradients]

    @property
    def axis(self) -> SampleAxis | OwnedRows:
        """The sample axis of the first output."""
        axis = self.axes[0]
        assert isinstance(axis, SampleAxis | OwnedRows)
        return axis

    @property
    def regular(self) -> bool:
        """Whether the samples lie along an axis of the first output, as rules require."""
        return self.gradients[0] is not None and isinstance(self.axes[0], SampleAxis | OwnedRows)

    def saved(self, name: str) -> Any:
        """A value that the operation saved, by autograd's name without `_saved_`; converted like `delta`."""
        value = getattr(self.node, f"_saved_{name}")
        return _widened(value.detach()) if isinstance(value, Tensor) else value

    def rows(self, tensor: Tensor) -> Tensor:
        """A tensor laid out like the first output, with samples first."""
        return self.axis.rows(tensor, self.samples)

    def positions(self, tensor: Tensor) -> Tensor:
        """The same, with each sample's positions (one if not folded) in place of the samples' dimension."""
        # Weight and bias both need those of the gradient, which may be a copy.
        return self._delta_positions if tensor is self.gradients[0] else self.axis.positions(tensor, self.samples)

    @cached_property
    def _delta_positions(self) -> Tensor:
        return self.axis.positions(self.delta, self.samples)

    def input_metadata(self, number: int) -> Any:
        """Shape, dtype and device of the tensor on an input that needs a gradient."""
        child, output = self.node.next_functions[number]
        assert child is not None
        return metadata(child)[output]

    def size_of_input(self, number: int) -> Shape:
        """Shape of the tensor on an input that needs a gradient."""
        return tuple(self.input_metadata(number).shape)

    def input_gradients(self, sample: int | None = None) -> Sequence[Tensor | None]:
        """The gradient of every input, from the operation's own backward pass.

        With `sample`, the gradients of the other samples are set to zero. Call this outside of autograd's backward
        pass, which would omit the gradients that it does not need itself.
        """
        masked = [
            gradient
            if sample is None or gradient is None or axis is None
            else axis.only(gradient, sample, self.samples)
            for gradient, axis in zip(self.gradients, self.axes, strict=True)
        ]
        backward: Any = self.node
        if not callable(backward):
            # A torch.autograd.Function expects zeros for an unused output.
            backward = backward.apply
            masked = [
                torch.zeros(entry.shape, dtype=entry.dtype, device=entry.device) if gradient is None else gradient
                for gradient, entry in zip(masked, metadata(self.node), strict=True)
            ]
        with torch.no_grad(), sound_gradients([self.node], of_parameters=True):
            result = backward(*laid_out(self.node, masked))
        return result if isinstance(result, tuple) else (result,)


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
