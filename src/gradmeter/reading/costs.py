"""What measuring each layer costs, beside a plain forward and backward pass over the same batch (T0)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.reading.inputs import Inputs
from gradmeter.reading.layers import Use, Way
from gradmeter.reading.network import logits_of, measuring


@dataclass(frozen=True)
class LayerCost:
    """One layer where one operation uses its parameters.

    Attributes:
        layer: the layer.
        operation: autograd's name of the operation, or the type of a module that has a rule of its own.
        calls: how often the operation is called in one forward pass.
        way: how its gradient is had for each sample.
        parameters: entries of those of the layer's parameters that the operation uses.
        seconds: that reading their gradients takes.
    """

    layer: str
    operation: str
    calls: int
    way: Way
    parameters: int
    seconds: float


@dataclass(frozen=True)
class Costs:
    """What a meter spends on one batch, each time the least of several.

    Attributes:
        samples: of the batch.
        layers: in the network's order.
        seconds: that the meter takes in all.
        plain_seconds: T0, that one forward pass and one backward pass of the summed loss take.
    """

    samples: int
    layers: tuple[LayerCost, ...]
    seconds: float
    plain_seconds: float

    @property
    def rest(self) -> float:
        """Seconds that do not belong to one layer: the network's own passes, and joining the statistics."""
        return max(0.0, self.seconds - sum(cost.seconds for cost in self.layers))


def layer_costs(uses: Iterable[Use], owned: Mapping[str, Mapping[str, nn.Parameter]]) -> tuple[LayerCost, ...]:
    """Uses of parameters "layer/name", by layer and operation, given the parameters that each layer owns."""
    by_parameter: dict[str, list[Use]] = {}
    for use in uses:
        by_parameter.setdefault(use.parameter, []).append(use)
    costs = []
    for layer, own in owned.items():
        by_operation: dict[str, list[tuple[nn.Parameter, Use]]] = {}
        for name, parameter in own.items():
            for use in by_parameter.get(f"{layer}/{name}", []):
                by_operation.setdefault(use.operation, []).append((parameter, use))
        for operation, pairs in by_operation.items():
            distinct = {id(parameter): parameter.numel() for parameter, _ in pairs}
            costs.append(
                LayerCost(
                    layer,
                    operation,
                    max(use.calls for _, use in pairs),
                    max((use.way for _, use in pairs), key=list(Way).index),
                    sum(distinct.values()),
                    sum(use.seconds for _, use in pairs),
                )
            )
    return tuple(costs)


def plain_pass(network: nn.Module, batch: Inputs) -> Callable[[], Any]:
    """T0: a forward pass and a backward pass of the summed loss of the predicted classes, by every parameter."""
    parameters = list(network.parameters())

    def run() -> tuple[Tensor | None, ...]:
        with measuring(network):
            logits = logits_of(network, batch, {})
            loss = (logits.logsumexp(dim=1) - logits.amax(dim=1)).sum()
            return torch.autograd.grad(loss, parameters, allow_unused=True)

    return run


def least_seconds(*calls: Callable[[], Any], rounds: int = 5) -> list[float]:
    """The least time that each call takes; they take turns, so that what slows the machine slows all."""
    seconds = [[float("inf")] for _ in calls]
    for _ in range(rounds):
        for call, taken in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in seconds]
