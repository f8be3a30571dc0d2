"""Features of the meta classifiers: the entropy and the gradient statistics of every layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gradmeter.errors import InputError
from gradmeter.reading.readings import Readings
from gradmeter.reading.scores import entropy
from gradmeter.research.study.names import PAPER_METRICS
from gradmeter.trust.features import GRADIENTS, OUTPUTS, Feature, FeatureAxes

ENTROPY = Feature(OUTPUTS, "entropy")

# If |sum of entries| is below this share of the sum of absolute entries in every sample, the mean is rounding noise.
_CANCELLATION = 1e-5


@dataclass(frozen=True)
class Features:
    """The features that a meta classifier uses, in a fixed order.

    Attributes:
        axes: source, layer and statistic of each feature.
    """

    axes: FeatureAxes

    @classmethod
    def chosen(
        cls, readings: Readings, layers: Sequence[str] | None = None, *, whole_gradient: bool = False
    ) -> Features:
        """Select the entropy and the statistics of the given layers that are more than rounding noise.

        The mean of a softmax layer's gradient is zero in exact arithmetic, because p - e_y sums to zero. Z-scoring
        would scale its rounding noise up to the size of the other features.

        Args:
            readings: readings of the training set of the classifier.
            layers: names of layers; None for all layers.
            whole_gradient: whether to add the statistics of the whole gradient, "all".

        Raises:
            InputError: the readings lack one of the layers.
        """
        layers = list(layers if layers is not None else readings.layers[:-1])
        if whole_gradient:
            layers.append("all")
        return cls.of(feature for feature in _statistics(layers) if not _is_noise(readings, feature))

    @classmethod
    def every(cls, readings: Readings, *, whole_gradient: bool = False) -> Features:
        """Select the entropy and every statistic of every layer, informative or not."""
        return cls.of(_statistics(readings.layers if whole_gradient else readings.layers[:-1]))

    @classmethod
    def of(cls, statistics: Iterable[Feature]) -> Features:
        """Select the entropy and the given statistics of gradients."""
        return cls(FeatureAxes((ENTROPY, *statistics)))

    @classmethod
    def named(cls, names: Sequence[str]) -> Features:
        """Select features by their column names, as files hold them; the inverse of `names`."""
        split = [name.rpartition("/") for name in names]
        features = (
            Feature(GRADIENTS, metric, layer) if slash else Feature(OUTPUTS, metric) for layer, slash, metric in split
        )
        return cls(FeatureAxes(tuple(features)))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns in tables: "entropy", "conv1/l2"."""
        return tuple(map(str, self.axes.features))

    def matrix(self, readings: Readings) -> np.ndarray:
        """Return the features of every sample, [N, features] float64.

        Raises:
            InputError: a feature is not finite.
        """
        columns = [
            entropy(readings.logits.double().cpu().numpy())
            if feature == ENTROPY
            else readings[feature.layer, feature.statistic].cpu().numpy()
            for feature in self.axes.features
        ]
        matrix = np.stack(columns, axis=1)
        finite = np.isfinite(matrix).all(axis=0)
        if not finite.all():
            name = self.names[int(np.argmin(finite))]
            raise InputError(f"feature {name!r} is not finite for some samples; expected finite readings")
        return matrix


def _statistics(layers: Iterable[str]) -> list[Feature]:
    return [Feature(GRADIENTS, metric, layer) for layer in layers for metric in PAPER_METRICS]


def _is_noise(readings: Readings, feature: Feature) -> bool:
    """Return whether a statistic is constant, or a mean that is zero up to rounding."""
    layer = feature.layer
    values = readings[layer, feature.statistic].cpu().numpy()
    if np.ptp(values) == 0:
        return True
    if feature.statistic != "mean":
        return False
    # mean = sum / n and l1 = n * mean absolute entry; l2^2 = n (mean^2 + std^2) gives n without the network.
    square = readings[layer, "mean"] ** 2 + readings[layer, "std"] ** 2
    count = (readings[layer, "l2"] ** 2 / square.clamp_min(np.finfo(np.float64).tiny)).cpu().numpy()
    size = readings[layer, "l1"].cpu().numpy()
    return bool(np.all(np.abs(values) * count <= _CANCELLATION * size))
