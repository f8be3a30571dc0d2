"""Simulated operations of other devices, which autograd cannot record here, with the values that a rule reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from gradmeter.reading.capture import Operation, SampleAxis


@dataclass(frozen=True, kw_only=True)
class _StandIn(Operation):
    kept: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[int, Tensor] = field(default_factory=dict)

    def saved(self, name: str) -> Any:
        return self.kept[name]

    def input_metadata(self, number: int) -> Any:
        return self.parameters[number]


def stand_in(
    gradients: tuple[Tensor | None, ...],
    axes: tuple[SampleAxis | None, ...],
    parameters: Mapping[int, Tensor],
    kept: Mapping[str, Any],
) -> Operation:
    """An operation with these gradients of its outputs, parameters by number of the input, and saved values."""
    axis, gradient = next((a, g) for a, g in zip(axes, gradients, strict=True) if a is not None and g is not None)
    node: Any = SimpleNamespace(name=lambda: "StandIn")
    return _StandIn(
        node=node,
        gradients=gradients,
        axes=axes,
        samples=gradient.shape[axis.dim] // (axis.outer * axis.inner),
        inputs=tuple(parameters),
        kept=kept,
        parameters=parameters,
    )
