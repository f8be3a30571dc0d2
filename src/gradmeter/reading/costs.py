"""The time to measure each layer, compared with a plain forward and backward pass over the same batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from gradmeter.reading.inputs import Inputs
from gradmeter.reading.layers import Use, Way
from gradmeter.reading.memory_format import in_memory_format
from gradmeter.reading.network import logits_of, loss_gradients, measuring


@dataclass(frozen=True)
class LayerCost:
    """The cost of one layer's parameters in one operation.

    Attributes:
        layer: name of the layer.
        operation: autograd's name of the operation, or the type of a module with its own rule.
        calls: number of calls of the operation in one forward pass.
        way: how the per-sample gradients are computed.
        parameters: number of entries of the layer's parameters that the operation uses.
        seconds: time to compute and reduce their gradients.
    """

    layer: str
    operation: str
    calls: int
    way: Way
    parameters: int
    seconds: float


@dataclass(frozen=True)
class Costs:
    """The time a meter needs for one batch; each time is the minimum of several runs.

    Attributes:
        samples: number of samples in the batch.
        layers: costs of the layers, in the network's order.
        seconds: total time of the measurement.
        plain_seconds: time of one forward pass and one backward pass of the summed loss.
    """

    samples: int
    layers: tuple[LayerCost, ...]
    seconds: float
    plain_seconds: float

    @property
    def rest(self) -> float:
        """Time that belongs to no layer: the network's forward and backward pass, and merging the statistics."""
        return max(0.0, self.seconds - sum(cost.seconds for cost in self.layers))


def layer_costs(uses: Iterable[Use], owned: Mapping[str, Mapping[str, nn.Parameter]]) -> tuple[LayerCost, ...]:
    """Sum the uses of parameters "layer/name" by layer and operation; `owned` are the parameters of each layer."""
    by_parameter: dict[str, list[Use]] = {}
    for use in uses:
        by_parameter.setdefault(use.parameter, []).append(use)
    costs = []
    for layer, parameters in owned.items():
        by_operation: dict[str, list[tuple[nn.Parameter, Use]]] = {}
        for name, parameter in parameters.items():
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
    """A function that runs one forward pass and one backward pass of the summed loss of the predicted classes."""
    parameters = list(network.parameters())

    def run() -> tuple[Tensor | None, ...]:
        with measuring(network):
            logits = in_memory_format(network, batch, lambda inputs: logits_of(network, inputs, {}))
            return loss_gradients(logits, parameters)

    return run


def least_seconds(*calls: Callable[[], Any], rounds: int = 5) -> list[float]:
    """Minimum time of each call; the calls alternate, so that other load on the machine affects all of them."""
    seconds = [[float("inf")] for _ in calls]
    for _ in range(rounds):
        for call, times in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return [min(times) for times in seconds]
