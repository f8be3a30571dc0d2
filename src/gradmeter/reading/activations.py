"""Statistics of what the layers put out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.reading.statistics import ACTIVATION_METRICS


@dataclass(frozen=True, eq=False)
class Activations:
    """Statistics of what the layers put out, for N samples.

    Attributes:
        layers: names of the layers whose output holds the samples apart, in the order of their first call.
        values: [N, layers, metrics] float64; the metrics of `gradmeter.reading.statistics.ACTIVATION_METRICS`.
    """

    layers: tuple[str, ...]
    values: Tensor

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in the order of the last axis of `values`."""
        return ACTIVATION_METRICS

    def __getitem__(self, key: tuple[str, str]) -> Tensor:
        """One metric of one layer's output, [N] float64: readings.activations["conv1", "positive"]."""
        return named(self.values, self.layers, ACTIVATION_METRICS, key)


def named(values: Tensor, layers: Sequence[str], metrics: Sequence[str], key: tuple[str, str]) -> Tensor:
    """One metric of one layer, [N], of values [N, layers, metrics].

    Raises:
        InputError: if there is no such layer or metric.
    """
    if not isinstance(key, tuple) or len(key) != 2:
        raise InputError(f"no reading {key!r}; expected a layer and a metric, as in readings['all', 'l2']")
    layer, metric = key
    if layer not in layers:
        raise InputError(f"no layer {layer!r}; the network has {', '.join(layers)}")
    if metric not in metrics:
        raise InputError(f"no metric {metric!r}; there are {', '.join(metrics)}")
    return values[:, layers.index(layer), metrics.index(metric)]
