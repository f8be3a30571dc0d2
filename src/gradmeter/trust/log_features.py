"""Features of readings on logarithmic scales, because statistics of gradients span many orders of magnitude."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.reading.readings import Readings
from gradmeter.trust.feature_sources import (
    OF_ACTIVATIONS,
    OF_GRADIENTS,
    OF_OUTPUTS,
    FeatureSource,
    require_finite,
    sources_of,
)
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

LOG_SCALE = Feature(OUTPUTS, "log_scale")
"""log(1 - p) of the predicted class, which every meta classifier uses."""

# A feature whose range is at most this share of its size is taken for constant. Standardised, it would count as much as
# others, and rounding errors of float32, up to a thousandth of this, would be seen in P(correct): they depend on the
# batch, the machine and the number of threads. The norm of a normalised output, for example, varies by a
# hundred-thousandth, because of the small number that is added to its variance.
_NEGLIGIBLE = 1e-4
# Features whose rounding errors do not depend on their size: logarithms, and numbers without a unit.
_SCALE_FREE = {
    *((OUTPUTS, name) for name in ("entropy", "log_scale")),
    *((GRADIENTS, name) for name in OF_GRADIENTS),
    *((ACTIVATIONS, name) for name in ("l1", "l2", "std", "skewness", "kurtosis")),
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
            readings: the training readings; features that hardly vary in them are left out.
        """
        return cls._varying([*_output_features(), *_gradient_features(readings.layers[:-1])], readings)

    @classmethod
    def everything(cls, readings: Readings) -> LogFeatures:
        """Select all features.

        Args:
            readings: the training readings; features that hardly vary in them are left out.
        """
        layers = readings.layers[:-1]
        features = [*_output_features(), *_entry_features(LOGITS, readings.logits), *_gradient_features(layers)]
        for label in readings.further:
            features += _gradient_features(layers, label)
        if readings.activations is not None:
            features += [
                Feature(ACTIVATIONS, statistic, layer)
                for layer in readings.activations.layers
                for statistic in OF_ACTIVATIONS
            ]
        if readings.embedding is not None:
            features += _entry_features(EMBEDDING, readings.embedding)
        features += [Feature(SCORES, name) for name in readings.scores]
        return cls._varying(features, readings)

    @classmethod
    def _varying(cls, features: list[Feature], readings: Readings) -> LogFeatures:
        """Select the given features whose range is not negligible."""
        values = cls(FeatureAxes(tuple(features))).block(readings).values
        constant = np.ptp(values, axis=0) <= negligible_ranges(features, values)
        # All logits are needed to find the predicted class, and every meta classifier needs the softmax.
        selected = [
            feature
            for feature, is_constant in zip(features, constant, strict=True)
            if not is_constant or feature.source == LOGITS or feature == LOG_SCALE
        ]
        return cls(FeatureAxes(tuple(selected)))

    @cached_property
    def _sources(self) -> list[FeatureSource]:
        return sources_of(self.axes.features, self.axes.groups.values())

    def block(self, readings: Readings) -> FeatureBlock:
        """Return the features of N predictions.

        Raises:
            InputError: if readings are not finite, or something that a feature needs was not read.
        """
        values = np.empty((len(readings), len(self.axes)))
        for source in self._sources:
            values[:, source.columns] = source.read(readings)
        require_finite(values, self.axes.features)
        for source in self._sources:
            source.transform(values, readings)
        return FeatureBlock(values, self.axes)


def negligible_ranges(features: Sequence[Feature], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each feature the range up to which it is taken for constant, from values [N, features]."""
    # What the rounding errors are relative to.
    largest: NDArray[np.float64] = np.abs(values).max(axis=0)
    columns = {feature: column for column, feature in enumerate(features)}
    for column, feature in enumerate(features):
        if (feature.source, feature.statistic) in _SCALE_FREE:
            largest[column] = 1.0
        elif feature.source == ACTIVATIONS and feature.statistic == "mean":  # in which entries may cancel
            extremes = (columns.get(feature._replace(statistic=extreme), column) for extreme in ("min", "max"))
            largest[column] = largest[[*extremes]].max()
    return _NEGLIGIBLE * largest


def _output_features() -> list[Feature]:
    return [Feature(OUTPUTS, name) for name in OF_OUTPUTS]


def _entry_features(source: str, vectors: Tensor) -> list[Feature]:
    return [Feature(source, str(index)) for index in range(vectors.shape[1])]


def _gradient_features(layers: Sequence[str], pseudo_label: str = "") -> list[Feature]:
    return [Feature(GRADIENTS, statistic, layer, pseudo_label) for layer in layers for statistic in OF_GRADIENTS]
