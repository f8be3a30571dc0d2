"""Logarithmic, scale-free features: the metrics of confident and of doubtful predictions span many decades."""

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

# The start vector has size 1: what is this much smaller, a layer without any gradient too, reads as this.
_FLOOR = np.log(1e-12)


def _size(values: Values) -> Values:
    """Of activations, or of a gradient whose start vector has size 1."""
    with np.errstate(divide="ignore"):
        size: Values = np.logaddexp(np.log(values.clip(0)), _FLOOR)
    return size


def _size_at(values: Values, log_scale: Values) -> Values:
    """Of a gradient [N, k] whose start vector is scaled to size 1, so that 1 - p does not enter once more."""
    with np.errstate(divide="ignore"):
        size: Values = np.logaddexp(np.log(values.clip(0)) - log_scale, _FLOOR)
    return size


def _kurtosis(values: Values) -> Values:
    # At least 1, as for two entries of opposite sign.
    logarithms: Values = np.log((values + 3).clip(1))
    return logarithms


LOG_SCALE = Feature(OUTPUTS, "log_scale")
"""The logarithm of 1 - p, which every judge begins with."""
_OUTPUTS: dict[str, Callable[[Readings], Values]] = {
    "entropy": lambda readings: np.logaddexp(np.log(entropy(readings.logits).clip(np.finfo(np.float64).tiny)), -700),
    "log_scale": lambda readings: readings.log_scale.double().cpu().numpy(),
    "energy": lambda readings: energy(readings.logits),
}
# Of gradients: what scales with the start vector, and the other two. The mean says next to nothing: entries cancel.
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
    """Which features a judge sees of readings, and how it sees them.

    Of the outputs these are the logarithm of the normalised entropy, that of 1 - p, and the free energy. Sizes of
    gradients and activations are logarithms, those of gradients after division by the scale of the start vector;
    skewness is under an inverse hyperbolic sine, as are extremes and means of activations, and kurtosis is the
    logarithm of Pearson's. Logits, embedding and scores are as they are.
    """

    axes: FeatureAxes

    @classmethod
    def chosen(cls, readings: Readings) -> LogFeatures:
        """All features of the outputs and of the first pseudo-label's gradients, the whole gradient's aside.

        Args:
            readings: those that the judge will be trained on; what is constant in them is left out.
        """
        return cls._varying([*_outputs(), *_gradients(readings.layers[:-1])], readings)

    @classmethod
    def everything(cls, readings: Readings) -> LogFeatures:
        """All features that there are, what is constant in these readings left out."""
        layers = readings.layers[:-1]
        features = [*_outputs(), *_numbered(LOGITS, readings.logits), *_gradients(layers)]
        for label in readings.further:
            features += _gradients(layers, label)
        if readings.activations is not None:
            features += [
                Feature(ACTIVATIONS, metric, layer)
                for layer in readings.activations.layers
                for metric in _OF_ACTIVATIONS
            ]
        if readings.embedding is not None:
            features += _numbered(EMBEDDING, readings.embedding)
        features += [Feature(SCORES, name) for name in readings.scores]
        return cls._varying(features, readings)

    @classmethod
    def _varying(cls, features: list[Feature], readings: Readings) -> LogFeatures:
        constant = np.ptp(cls(FeatureAxes(tuple(features))).block(readings).values, axis=0) == 0
        # All logits, so that the largest of them tells the prediction; and the softmax, which every judge begins with.
        return cls(
            FeatureAxes(
                tuple(
                    feature
                    for feature, same in zip(features, constant, strict=True)
                    if not same or feature.source == LOGITS or feature == LOG_SCALE
                )
            )
        )

    def block(self, readings: Readings) -> FeatureBlock:
        """The features of N predictions.

        Raises:
            InputError: for readings that are not finite, or lack what a feature is made of.
        """
        values = np.empty((len(readings), len(self.axes)))
        for (source, pseudo_label), columns in self.axes.groups.items():
            features = [self.axes.features[column] for column in columns]
            if source == GRADIENTS:
                values[:, columns] = _of_gradients(readings, pseudo_label, features)
            else:
                values[:, columns] = _READ[source](readings, features)
        return FeatureBlock(values, self.axes)


def _outputs() -> list[Feature]:
    return [Feature(OUTPUTS, name) for name in _OUTPUTS]


def _numbered(source: str, vectors: Tensor) -> list[Feature]:
    return [Feature(source, str(number)) for number in range(vectors.shape[1])]


def _gradients(layers: Sequence[str], pseudo_label: str = "") -> list[Feature]:
    return [Feature(GRADIENTS, metric, layer, pseudo_label) for layer in layers for metric in _OF_GRADIENTS]


def _read_outputs(readings: Readings, features: Sequence[Feature]) -> Values:
    return _finite(np.stack([_OUTPUTS[feature.statistic](readings) for feature in features], axis=1), features)


def _read_logits(readings: Readings, features: Sequence[Feature]) -> Values:
    return _entries(readings.logits, features)


def _read_embedding(readings: Readings, features: Sequence[Feature]) -> Values:
    if readings.embedding is None:
        raise _missing("embedding")
    return _entries(readings.embedding, features)


def _entries(vectors: Tensor, features: Sequence[Feature]) -> Values:
    numbers = [int(feature.statistic) for feature in features]
    if max(numbers) >= vectors.shape[1]:
        raise _missing(repr(str(features[int(np.argmax(numbers))])))
    return _finite(_array(vectors)[:, numbers], features)


def _read_scores(readings: Readings, features: Sequence[Feature]) -> Values:
    for feature in features:
        if feature.statistic not in readings.scores:
            raise _missing(f"score {feature.statistic!r}")
    return _finite(np.stack([_array(readings.scores[feature.statistic]) for feature in features], axis=1), features)


def _read_activations(readings: Readings, features: Sequence[Feature]) -> Values:
    if readings.activations is None:
        raise _missing("activations")
    values = _picked(readings.activations.values, readings.activations.layers, ACTIVATION_METRICS, features)
    metrics = np.array([feature.statistic for feature in features])
    for metric, transform in _OF_ACTIVATIONS.items():
        columns = metrics == metric
        values[:, columns] = transform(values[:, columns])
    return values


def _of_gradients(readings: Readings, pseudo_label: str, features: Sequence[Feature]) -> Values:
    if pseudo_label and pseudo_label not in readings.further:
        raise _missing(f"pseudo-label {pseudo_label!r}")
    own = readings.further[pseudo_label] if pseudo_label else readings
    values = _picked(own.values, own.layers, own.metrics, features)
    # A start vector of size 0, as "uniform" has for equal logits, leaves no gradient.
    log_scale = _array(own.log_scale)
    log_scale = _finite(np.where(np.isneginf(log_scale), 0.0, log_scale)[:, None], features[:1])
    metrics = np.array([feature.statistic for feature in features])
    values[:, metrics == "min"] *= -1
    sizes = np.isin(metrics, _SIZES)
    values[:, sizes] = _size_at(values[:, sizes], log_scale)
    for metric, transform in _SHAPES.items():
        columns = metrics == metric
        values[:, columns] = transform(values[:, columns])
    return values


def _picked(values: Tensor, layers: Sequence[str], metrics: Sequence[str], features: Sequence[Feature]) -> Values:
    """[N, features] of values [N, layers, metrics], checked before a logarithm or a limit makes them look finite."""
    places = {layer: place for place, layer in enumerate(layers)}
    for feature in features:
        if feature.layer not in places:
            raise _missing(repr(str(feature)))
        if feature.statistic not in metrics:
            raise _missing(repr(str(feature)))
    rows = [places[feature.layer] for feature in features]
    return _finite(_array(values)[:, rows, [metrics.index(feature.statistic) for feature in features]], features)


def _array(tensor: Tensor) -> Values:
    array: Values = tensor.detach().double().cpu().numpy()
    return array


def _finite(values: Values, features: Sequence[Feature]) -> Values:
    finite = np.isfinite(values).all(axis=0)
    if not finite.all():
        feature = features[int(np.flatnonzero(~finite)[0])]
        raise InputError(f"'{feature}' is not finite for some samples; expected finite readings")
    return values


def _missing(what: str) -> InputError:
    return InputError(f"the readings have no {what}, which the judge learned from; read with the TrustModel's meter")


_READ: dict[str, Callable[[Readings, Sequence[Feature]], Values]] = {
    OUTPUTS: _read_outputs,
    LOGITS: _read_logits,
    EMBEDDING: _read_embedding,
    SCORES: _read_scores,
    ACTIVATIONS: _read_activations,
}
