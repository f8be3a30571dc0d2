"""The sources of features: what of the readings each column holds, and its transformation to a logarithmic scale.

Columns, layers and statistics are looked up once per selection of features, because for a single prediction the
look-up would take longer than the computation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.reading.readings import Readings
from gradmeter.reading.scores import ShiftedLogits
from gradmeter.reading.statistics import ACTIVATION_METRICS
from gradmeter.trust.features import ACTIVATIONS, EMBEDDING, GRADIENTS, LOGITS, OUTPUTS, SCORES, Feature

Values = NDArray[np.float64]
Columns = NDArray[np.intp]

# Relative to a start vector of size 1; smaller sizes, including 0, are mapped to about this value.
_FLOOR = np.log(1e-12)
LEAST_ENERGY = 1e-5
"""A smaller free energy counts as 0: that of log-probabilities consists of rounding errors of float32."""


def _log_size(values: Values, log_scale: Values | float = 0.0) -> Values:
    """Return the logarithm of sizes [N, k], relative to exp(log_scale).

    For gradients, this is the size of the start vector; otherwise each size would contain the factor 1 - p.
    """
    with np.errstate(divide="ignore"):
        logarithms: Values = np.logaddexp(np.log(values.clip(0)) - log_scale, _FLOOR)
    return logarithms


def _log_kurtosis(values: Values) -> Values:
    """Return the logarithm of Pearson's kurtosis, which is at least 1."""
    logarithms: Values = np.log((values + 3).clip(1))
    return logarithms


OF_OUTPUTS: Mapping[str, Callable[[Readings, ShiftedLogits], Values]] = {
    "entropy": lambda _, logits: np.logaddexp(np.log(logits.entropy.clip(np.finfo(np.float64).tiny)), -700),
    "log_scale": lambda readings, _: _to_array(readings.log_scale),
    "energy": lambda _, logits: np.where(np.abs(logits.energy) < LEAST_ENERGY, 0.0, logits.energy),
}
"""Features of all logits by name."""

# Statistics of gradients that scale with the start vector, and scale-free ones. The mean is left out: entries cancel.
_SIZES = ("l1", "l2", "min", "max", "std")
_SHAPES: Mapping[str, Callable[[Values], Values]] = {"skewness": np.arcsinh, "kurtosis": _log_kurtosis}
OF_GRADIENTS = (*_SIZES, *_SHAPES)
"""Statistics of gradients that are features."""

_OF_ACTIVATIONS: Mapping[str, Callable[[Values], Values]] = {
    **dict.fromkeys(("l1", "l2", "std"), _log_size),
    **dict.fromkeys(("min", "max", "mean", "skewness"), np.arcsinh),
    "kurtosis": _log_kurtosis,
}
OF_ACTIVATIONS = (*_OF_ACTIVATIONS, "positive")
"""Statistics of activations that are features."""


class FeatureSource(ABC):
    """The features of one source.

    Args:
        columns: where they stand in the block.
        features: their names.
    """

    scales: Mapping[str, Callable[[Values], Values]] = {}
    """Transformations by statistic; other statistics stay unchanged."""

    def __init__(self, columns: Columns, features: Sequence[Feature]) -> None:
        self.columns, self.features = columns, features
        by_scale: dict[Callable[[Values], Values], list[int]] = {}
        for column, feature in zip(columns.tolist(), features, strict=True):
            if feature.statistic in self.scales:
                by_scale.setdefault(self.scales[feature.statistic], []).append(column)
        self._by_scale = [(scale, np.array(places, np.intp)) for scale, places in by_scale.items()]

    @abstractmethod
    def read(self, readings: Readings) -> Values:
        """Return the features [N, columns], not yet transformed.

        Raises:
            InputError: if something that a feature needs was not read.
        """

    def transform(self, values: Values, readings: Readings) -> None:
        """Transform the columns of this source in a block [N, features] of finite values."""
        for scale, columns in self._by_scale:
            values[:, columns] = scale(values[:, columns])


class _Outputs(FeatureSource):
    """Functions of all logits."""

    def read(self, readings: Readings) -> Values:
        logits = ShiftedLogits.of(readings.logits)
        return np.array([OF_OUTPUTS[feature.statistic](readings, logits) for feature in self.features]).T


class _Scores(FeatureSource):
    """Scores of probes."""

    def read(self, readings: Readings) -> Values:
        scores = readings.scores
        for feature in self.features:
            if feature.statistic not in scores:
                raise _missing(f"score {feature.statistic!r}")
        return np.array([_to_array(scores[feature.statistic]) for feature in self.features]).T


class _Entries(FeatureSource):
    """Entries of a vector: logits, or the embedding."""

    def __init__(self, columns: Columns, features: Sequence[Feature]) -> None:
        super().__init__(columns, features)
        self._name = features[0].source
        self._indices = np.array([int(feature.statistic) for feature in features], np.intp)
        self._last = int(self._indices.argmax())

    def read(self, readings: Readings) -> Values:
        vectors: Tensor | None = getattr(readings, self._name)
        if vectors is None:
            raise _missing(self._name)
        if self._indices[self._last] >= vectors.shape[1]:
            raise _missing(repr(str(self.features[self._last])))
        return _to_array(vectors)[:, self._indices]


class _Activations(FeatureSource):
    """Statistics of the layers' outputs."""

    scales = _OF_ACTIVATIONS

    def __init__(self, columns: Columns, features: Sequence[Feature]) -> None:
        super().__init__(columns, features)
        self._places = _Places(features)

    def read(self, readings: Readings) -> Values:
        if readings.activations is None:
            raise _missing("activations")
        activations = readings.activations
        return _flat(activations.values)[:, self._places(activations.layers, ACTIVATION_METRICS)]


class _Gradients(FeatureSource):
    """Statistics of the gradients for one pseudo-label."""

    scales = _SHAPES

    def __init__(self, columns: Columns, features: Sequence[Feature]) -> None:
        super().__init__(columns, features)
        self._label = features[0].pseudo_label
        self._places = _Places(features)
        self._minima = columns[[feature.statistic == "min" for feature in features]]
        self._sizes = columns[[feature.statistic in _SIZES for feature in features]]

    def read(self, readings: Readings) -> Values:
        gradients = self._of(readings)
        return _flat(gradients.values)[:, self._places(gradients.layers, gradients.metrics)]

    def transform(self, values: Values, readings: Readings) -> None:
        # A start vector of size 0 gives a gradient of 0: "uniform" has one for equal logits.
        log_scale = _to_array(self._of(readings).log_scale)
        log_scale = np.where(np.isneginf(log_scale), 0.0, log_scale)[:, None]
        require_finite(log_scale, self.features[:1])
        values[:, self._minima] *= -1
        values[:, self._sizes] = _log_size(values[:, self._sizes], log_scale)
        super().transform(values, readings)

    def _of(self, readings: Readings) -> Readings:
        if self._label and self._label not in readings.further:
            raise _missing(f"pseudo-label {self._label!r}")
        return readings.further[self._label] if self._label else readings


_SOURCES: Mapping[str, Callable[[Columns, Sequence[Feature]], FeatureSource]] = {
    OUTPUTS: _Outputs,
    LOGITS: _Entries,
    EMBEDDING: _Entries,
    SCORES: _Scores,
    ACTIVATIONS: _Activations,
    GRADIENTS: _Gradients,
}


def sources_of(features: Sequence[Feature], groups: Iterable[Columns]) -> list[FeatureSource]:
    """Return the sources of features, whose columns are grouped by source and pseudo-label."""
    selections = [(columns, [features[column] for column in columns]) for columns in groups]
    return [_SOURCES[selected[0].source](columns, selected) for columns, selected in selections]


def require_finite(values: Values, features: Sequence[Feature]) -> None:
    """Check features [N, features], before a transformation that would hide infinite values.

    Raises:
        InputError: if values are not finite.
    """
    finite = np.isfinite(values)
    if not finite.all():
        feature = features[int(np.flatnonzero(~finite.all(axis=0))[0])]
        raise InputError(f"'{feature}' is not finite for some samples; expected finite readings")


class _Places:
    """Maps layers and statistics to the places of features in their product."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._features = features
        self._known: dict[tuple[tuple[str, ...], tuple[str, ...]], Columns] = {}

    def __call__(self, layers: tuple[str, ...], statistics: tuple[str, ...]) -> Columns:
        """Return the places of the features.

        Raises:
            InputError: if a feature is not among them.
        """
        if (layers, statistics) not in self._known:
            rows = {layer: row for row, layer in enumerate(layers)}
            for feature in self._features:
                if feature.layer not in rows or feature.statistic not in statistics:
                    raise _missing(repr(str(feature)))
            places = [
                rows[feature.layer] * len(statistics) + statistics.index(feature.statistic)
                for feature in self._features
            ]
            self._known[layers, statistics] = np.array(places, np.intp)
        return self._known[layers, statistics]


def _flat(values: Tensor) -> Values:
    """Return values [N, layers, statistics] as [N, layers * statistics]."""
    array = _to_array(values)
    return array.reshape(len(array), -1)


def _to_array(tensor: Tensor) -> Values:
    array: Values = tensor.detach().double().cpu().numpy()
    return array


def _missing(name: str) -> InputError:
    return InputError(
        f"the readings have no {name}, which the meta classifier uses; expected those of the TrustModel's meter, and "
        "the network that it was fitted to: a traced or exported one hides the outputs of its layers"
    )
