"""How far each layer is from what it shows for right predictions: the size of its gradient, and of its distances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradmeter.reading.readings import Readings

Values = NDArray[np.float64]

GRADIENT, DISTANCE = "gradient", "distance"
"""What is measured in a layer: log10 of the Euclidean norm of its gradient, or log10 of the distance of its output from
those of known inputs. The gradient is that of the meter's first pseudo-label, by default the prediction."""

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""The levels of the quantiles of right predictions."""

OBJECTION = 0.95
"""A layer objects to a prediction if its value exceeds this quantile."""

# The smallest norm that is told from 0. Norms below it occur where the softmax is 1 within rounding.
_SMALLEST = 1e-30


@dataclass(frozen=True, eq=False)
class LayerValues:
    """A measure of each layer for N predictions, beside its range for right validation predictions.

    Attributes:
        measure: `GRADIENT` or `DISTANCE`.
        layers: names of the layers.
        values: [N, layers].
        quantiles: [layers, levels] quantiles of the right validation predictions at `LEVELS`; None for a TrustModel
            that was fitted by a version that did not save them.
    """

    measure: str
    layers: tuple[str, ...]
    values: Values
    quantiles: Values | None

    @property
    def objections(self) -> NDArray[np.bool_] | None:
        """Whether a layer objects to a prediction, [N, layers]: its value exceeds 95 % of those of right predictions.

        None without quantiles.
        """
        return None if self.quantiles is None else self.values > self.quantiles[:, LEVELS.index(OBJECTION)]


@dataclass(frozen=True, eq=False)
class GradientRanges:
    """The range of the gradient's size in each layer for right validation predictions.

    Attributes:
        layers: names of the layers.
        quantiles: [layers, levels] quantiles of log10 of the Euclidean norm, at `LEVELS`.
    """

    layers: tuple[str, ...]
    quantiles: Values

    @classmethod
    def of(cls, right: Readings) -> GradientRanges | None:
        """Return the ranges of the readings of right predictions; None if they have no gradients."""
        layers = gradient_layers(right)
        return cls(layers, quantiles_of(gradient_sizes(right))) if layers and len(right) else None

    def to_json(self) -> dict[str, Any]:
        """Return the attributes as JSON values."""
        return {"layers": list(self.layers), "levels": list(LEVELS), "quantiles": self.quantiles.tolist()}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> GradientRanges | None:
        """Invert `to_json`; None for ranges at other levels, which another version saved.

        Raises:
            ValueError: if the values are not those of `to_json`.
        """
        layers, quantiles = tuple(map(str, saved["layers"])), np.array(saved["quantiles"], np.float64)
        if list(saved["levels"]) != list(LEVELS):
            return None
        if quantiles.shape != (len(layers), len(LEVELS)) or not np.isfinite(quantiles).all():
            raise ValueError(f"quantiles of shape {quantiles.shape}; expected finite ones {(len(layers), len(LEVELS))}")
        return cls(layers, quantiles)


def gradient_layers(readings: Readings) -> tuple[str, ...]:
    """Return the names of the layers whose gradients were read, without "all"; empty without gradients."""
    return readings.layers[:-1] if "l2" in readings.metrics else ()


def gradient_sizes(readings: Readings) -> Values:
    """Return log10 of the Euclidean norm of each layer's gradient, [N, layers]."""
    norms: Values = readings.values[:, :-1, readings.metrics.index("l2")].double().cpu().numpy()
    sizes: Values = np.log10(norms.clip(_SMALLEST))
    return sizes


def quantiles_of(values: Values) -> Values:
    """Return the quantiles [layers, levels] at `LEVELS` of values [N, layers]."""
    return np.ascontiguousarray(np.quantile(values, LEVELS, axis=0).T)


def gradient_values(readings: Readings, ranges: GradientRanges | None) -> list[LayerValues]:
    """Return the sizes of the gradients, in a list of one; an empty list without gradients."""
    layers = gradient_layers(readings)
    if not layers:
        return []
    known = ranges is not None and ranges.layers == layers
    return [LayerValues(GRADIENT, layers, gradient_sizes(readings), ranges.quantiles if ranges and known else None)]


def distance_values(layers: Sequence[str], log_squares: Values, quantiles: Values | None) -> LayerValues:
    """Return distances from the natural logarithms of their squares [N, layers] and the quantiles of these."""
    to_log10 = 0.5 / np.log(10)
    scaled = None if quantiles is None else to_log10 * quantiles
    return LayerValues(DISTANCE, tuple(layers), to_log10 * log_squares, scaled)
