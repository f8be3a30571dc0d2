"""Which features of segments vary by more than rounding errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradmeter.trust.segments.features import GRADIENTS, SegmentFeature, SegmentFeatures

# A statistic whose entries cancel counts as 0 if it is nowhere larger than this share of its scale. For a last layer
# the mean is 0, because the softmax's derivatives add up to 0, and for two classes the skewness, too. Rounding errors
# in their place depend on the batch, the machine and the number of threads.
_NEGLIGIBLE = 1e-5
_MEAN, _SCALE_OF_MEAN, _SKEWNESS = "mean", "std", "skewness"


def varying(features: SegmentFeatures) -> NDArray[np.bool_]:
    """Return for each feature whether it varies over the segments, and not only by rounding errors, [F]."""
    if not len(features):
        return np.zeros(len(features.axes), np.bool_)
    varies: NDArray[np.bool_] = np.ptp(features.values, axis=0) > 0
    sizes = _sizes(features)
    for column, axis in enumerate(features.axes):
        if axis.source == GRADIENTS and axis.statistic in (_MEAN, _SKEWNESS):
            scale = sizes.get((axis.layer, _SCALE_OF_MEAN), 0.0) if axis.statistic == _MEAN else 1.0
            varies[column] &= sizes[axis.layer, axis.statistic] > _NEGLIGIBLE * scale
    return varies


def _sizes(features: SegmentFeatures) -> dict[tuple[str, str], float]:
    """Return the largest mean or standard deviation over a segment, by the layer and the statistic of a gradient."""
    sizes: dict[tuple[str, str], float] = {}
    for column, axis in enumerate(features.axes):
        if axis.source == GRADIENTS:
            size = _size(axis, float(np.abs(features.values[:, column]).max()))
            sizes[axis.layer, axis.statistic] = max(size, sizes.get((axis.layer, axis.statistic), 0.0))
    return sizes


def _size(axis: SegmentFeature, largest: float) -> float:
    if axis.where.startswith("variance"):
        return float(np.sqrt(largest))
    return largest if axis.where.startswith("mean") else 0.0
