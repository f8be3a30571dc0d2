"""Feature blocks made of random numbers."""

import numpy as np
from numpy.typing import NDArray

from gradmeter.trust.features import ACTIVATIONS, GRADIENTS, Feature, FeatureAxes, FeatureBlock
from gradmeter.trust.log_features import LOG_SCALE

AXES = FeatureAxes(
    (
        LOG_SCALE,
        *(Feature(ACTIVATIONS, statistic, "conv") for statistic in ("l1", "l2", "max")),
        *(Feature(GRADIENTS, statistic, "conv") for statistic in ("l1", "l2")),
    )
)


def block(samples: int, seed: int = 0) -> FeatureBlock:
    return FeatureBlock(np.random.default_rng(seed).normal(size=(samples, len(AXES))), AXES)


def with_column(features: FeatureBlock, column: int, values: NDArray[np.float64]) -> FeatureBlock:
    changed = features.values.copy()
    changed[:, column] = values
    return FeatureBlock(changed, features.axes)
