"""Statistics of the layers' outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.reading.statistics import ACTIVATION_METRICS


@dataclass(frozen=True, eq=False)
class Activations:
    """Statistics of the layers' outputs, for N samples.

    Attributes:
        layers: names of the layers whose output separates the samples, in the order of their first call.
        values: [N, layers, metrics] float64; the statistics of `gradmeter.reading.statistics.ACTIVATION_METRICS`.
    """

    layers: tuple[str, ...]
    values: Tensor

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the statistics, in the order of the last axis of `values`."""
        return ACTIVATION_METRICS

    def __getitem__(self, key: tuple[str, str]) -> Tensor:
        """One statistic of one layer's output, [N] float64: readings.activations["conv1", "positive"]."""
        return select(self.values, self.layers, ACTIVATION_METRICS, key)


def select(values: Tensor, layers: Sequence[str], metrics: Sequence[str], key: tuple[str, str]) -> Tensor:
    """One statistic of one layer, [N], from values [N, layers, metrics].

    Raises:
        InputError: if there is no such layer or statistic.
    """
    if not isinstance(key, tuple) or len(key) != 2:
        raise InputError(
            f"invalid key {key!r}; expected a layer and a statistic, as in "
            f"readings[{('layer', *layers)[-1]!r}, {metrics[0]!r}]"
        )
    layer, metric = key
    if layer not in layers:
        raise InputError(f"unknown layer {layer!r}; expected one of {', '.join(layers)}")
    if metric not in metrics:
        raise InputError(f"unknown statistic {metric!r}; expected one of {', '.join(metrics)}")
    return values[:, layers.index(layer), metrics.index(metric)]
