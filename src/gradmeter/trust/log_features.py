"""Features of readings on logarithmic scales, because statistics of gradients span many orders of magnitude."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.reading.readings import Readings
from gradmeter.reading.scores import energy, entropy
from gradmeter.reading.statistics import ACTIVATION_METRICS
from gradmeter.trust.features import (
    ACTIVATIONS,
    EMBEDDING,
    GRADIENTS,
    LOGITS,
    OUTPUTS,
    SCORES,
    Feature,
    FeatureAxes,
    FeatureBlock,
)

Values = NDArray[np.float64]

# Relative to a start vector of size 1; smaller sizes, including 0, are mapped to about this value.
_FLOOR = np.log(1e-12)


def _size(values: Values) -> Values:
    """Return the logarithm of sizes of activations."""
    return _relative_size(values, 0.0)


def _relative_size(values: Values, log_scale: Values | float) -> Values:
    """Return the logarithm of sizes of gradients [N, k], relative to the size exp(log_scale) of the start vector.

    Without the division, each size would contain the factor 1 - p.
    """
    with np.errstate(divide="ignore"):
        logarithms: Values = np.logaddexp(np.log(values.clip(0)) - log_scale, _FLOOR)
    return logarithms


def _kurtosis(values: Values) -> Values:
    """Return the logarithm of Pearson's kurtosis, which is at least 1."""
    logarithms: Values = np.log((values + 3).clip(1))
    return logarithms


LOG_SCALE = Feature(OUTPUTS, "log_scale")
"""log(1 - p) of the predicted class, which every meta classifier uses."""
_OUTPUTS: dict[str, Callable[[Readings], Values]] = {
    "entropy": lambda readings: np.logaddexp(np.log(entropy(readings.logits).clip(np.finfo(np.float64).tiny)), -700),
    "log_scale": lambda readings: readings.log_scale.double().cpu().numpy(),
    "energy": lambda readings: energy(readings.logits),
}
# Statistics of gradients that scale with the start vector, and scale-free ones. The mean is left out: entries cancel.
_SIZES = ("l1", "l2", "min", "max", "std")
_SHAPES: dict[str, Callable[[Values], Values]] = {"skewness": np.arcsinh, "kurtosis": _kurtosis}
_OF_GRADIENTS = (*_SIZES, *_SHAPES)
_OF_ACTIVATIONS: dict[str, Callable[[Values], Values]] = {
    **dict.fromkeys(("l1", "l2", "std"), _size),
    **dict.fromkeys(("min", "max", "mean", "skewness"), np.arcsinh),
    "kurtosis": _kurtosis,
    "positive": lambda values: values,
}


@dataclass(frozen=True)
class LogFeatures:
    """A selection of features, and their transformation from readings.

    - Outputs: the logarithm of the normalised entropy, log(1 - p), and the free energy.
    - Gradients: logarithms of sizes relative to the size of the start vector, the inverse hyperbolic sine of the
      skewness, and the logarithm of Pearson's kurtosis.
    - Activations: logarithms of sizes, the inverse hyperbolic sine of minimum, maximum, mean and skewness, the
      logarithm of Pearson's kurtosis, and the share of positive entries.
    - Logits, embedding and scores: unchanged.

    Attributes:
        axes: the selected features.
    """

    axes: FeatureAxes

    @classmethod
    def chosen(cls, readings: Readings) -> LogFeatures:
        """Select the features of the outputs, and of each layer's gradient for the first pseudo-label.

        Args:
            readings: the training readings; features that are constant in them are left out.
        """
        return cls._varying([*_output_features(), *_gradient_features(readings.layers[:-1])], readings)

    @classmethod
    def everything(cls, readings: Readings) -> LogFeatures:
        """Select all features.

        Args:
            readings: the training readings; features that are constant in them are left out.
        """
        layers = readings.layers[:-1]
        features = [*_output_features(), *_entry_features(LOGITS, readings.logits), *_gradient_features(layers)]
        for label in readings.further:
            features += _gradient_features(layers, label)
        if readings.activations is not None:
            features += [
                Feature(ACTIVATIONS, statistic, layer)
                for layer in readings.activations.layers
                for statistic in _OF_ACTIVATIONS
            ]
        if readings.embedding is not None:
            features += _entry_features(EMBEDDING, readings.embedding)
        features += [Feature(SCORES, name) for name in readings.scores]
        return cls._varying(features, readings)

    @classmethod
    def _varying(cls, features: list[Feature], readings: Readings) -> LogFeatures:
        """Select the given features that are not constant."""
        constant = np.ptp(cls(FeatureAxes(tuple(features))).block(readings).values, axis=0) == 0
        # All logits are needed to find the predicted class, and every meta classifier needs the softmax.
        selected = [
            feature
            for feature, is_constant in zip(features, constant, strict=True)
            if not is_constant or feature.source == LOGITS or feature == LOG_SCALE
        ]
        return cls(FeatureAxes(tuple(selected)))

    def block(self, readings: Readings) -> FeatureBlock:
        """Return the features of N predictions.

        Raises:
            InputError: if readings are not finite, or something that a feature needs was not read.
        """
        values = np.empty((len(readings), len(self.axes)))
        for (source, pseudo_label), columns in self.axes.groups.items():
            features = [self.axes.features[column] for column in columns]
            if source == GRADIENTS:
                values[:, columns] = _read_gradients(readings, pseudo_label, features)
            else:
                values[:, columns] = _READERS[source](readings, features)
        return FeatureBlock(values, self.axes)


def _output_features() -> list[Feature]:
    return [Feature(OUTPUTS, name) for name in _OUTPUTS]


def _entry_features(source: str, vectors: Tensor) -> list[Feature]:
    return [Feature(source, str(index)) for index in range(vectors.shape[1])]


def _gradient_features(layers: Sequence[str], pseudo_label: str = "") -> list[Feature]:
    return [Feature(GRADIENTS, statistic, layer, pseudo_label) for layer in layers for statistic in _OF_GRADIENTS]


def _read_outputs(readings: Readings, features: Sequence[Feature]) -> Values:
    return _require_finite(np.stack([_OUTPUTS[feature.statistic](readings) for feature in features], axis=1), features)


def _read_logits(readings: Readings, features: Sequence[Feature]) -> Values:
    return _select_entries(readings.logits, features)


def _read_embedding(readings: Readings, features: Sequence[Feature]) -> Values:
    if readings.embedding is None:
        raise _missing("embedding")
    return _select_entries(readings.embedding, features)


def _select_entries(vectors: Tensor, features: Sequence[Feature]) -> Values:
    indices = [int(feature.statistic) for feature in features]
    if max(indices) >= vectors.shape[1]:
        raise _missing(repr(str(features[int(np.argmax(indices))])))
    return _require_finite(_to_array(vectors)[:, indices], features)


def _read_scores(readings: Readings, features: Sequence[Feature]) -> Values:
    for feature in features:
        if feature.statistic not in readings.scores:
            raise _missing(f"score {feature.statistic!r}")
    return _require_finite(
        np.stack([_to_array(readings.scores[feature.statistic]) for feature in features], axis=1), features
    )


def _read_activations(readings: Readings, features: Sequence[Feature]) -> Values:
    if readings.activations is None:
        raise _missing("activations")
    activations = readings.activations
    values = _select(activations.values, activations.layers, ACTIVATION_METRICS, features)
    statistics = np.array([feature.statistic for feature in features])
    for statistic, transform in _OF_ACTIVATIONS.items():
        columns = statistics == statistic
        values[:, columns] = transform(values[:, columns])
    return values


def _read_gradients(readings: Readings, pseudo_label: str, features: Sequence[Feature]) -> Values:
    if pseudo_label and pseudo_label not in readings.further:
        raise _missing(f"pseudo-label {pseudo_label!r}")
    gradients = readings.further[pseudo_label] if pseudo_label else readings
    values = _select(gradients.values, gradients.layers, gradients.metrics, features)
    # A start vector of size 0 gives a gradient of 0: "uniform" has one for equal logits.
    log_scale = _to_array(gradients.log_scale)
    log_scale = _require_finite(np.where(np.isneginf(log_scale), 0.0, log_scale)[:, None], features[:1])
    statistics = np.array([feature.statistic for feature in features])
    values[:, statistics == "min"] *= -1
    is_size = np.isin(statistics, _SIZES)
    values[:, is_size] = _relative_size(values[:, is_size], log_scale)
    for statistic, transform in _SHAPES.items():
        columns = statistics == statistic
        values[:, columns] = transform(values[:, columns])
    return values


def _select(values: Tensor, layers: Sequence[str], statistics: Sequence[str], features: Sequence[Feature]) -> Values:
    """Select features [N, features] from values [N, layers, statistics].

    Raises:
        InputError: if values are missing or not finite. Later transformations would hide infinite values.
    """
    layer_indices = {layer: index for index, layer in enumerate(layers)}
    for feature in features:
        if feature.layer not in layer_indices or feature.statistic not in statistics:
            raise _missing(repr(str(feature)))
    rows = [layer_indices[feature.layer] for feature in features]
    columns = [statistics.index(feature.statistic) for feature in features]
    return _require_finite(_to_array(values)[:, rows, columns], features)


def _to_array(tensor: Tensor) -> Values:
    array: Values = tensor.detach().double().cpu().numpy()
    return array


def _require_finite(values: Values, features: Sequence[Feature]) -> Values:
    finite = np.isfinite(values).all(axis=0)
    if not finite.all():
        feature = features[int(np.flatnonzero(~finite)[0])]
        raise InputError(f"'{feature}' is not finite for some samples; expected finite readings")
    return values


def _missing(name: str) -> InputError:
    return InputError(f"the readings have no {name}, which the meta classifier uses; read with the TrustModel's meter")


_READERS: dict[str, Callable[[Readings, Sequence[Feature]], Values]] = {
    OUTPUTS: _read_outputs,
    LOGITS: _read_logits,
    EMBEDDING: _read_embedding,
    SCORES: _read_scores,
    ACTIVATIONS: _read_activations,
}
