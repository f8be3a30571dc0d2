"""Meta regression: predict the loss of a known input, -log p(true class), from what is read of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

from gradmeter.research.gradient_gain.judges import BalancedScale
from gradmeter.research.gradient_gain.variants import View
from gradmeter.trust.features import OUTPUTS, Feature, FeatureAxes, FeatureBlock

Values = NDArray[np.float64]

RIDGE, BOOSTING = "ridge", "gradient boosting"

_PENALTIES = (0.1, 1.0, 10.0, 100.0)
# Features that are logarithms, and the names of what they are logarithms of.
_LOGARITHMS = {"log_scale": "1 - p", "entropy": "entropy itself"}
_TREES, _FEATURE_SHARE = 60, 0.1


def fit_ridge(block: FeatureBlock, loss: Values, view: View) -> Callable[[FeatureBlock], Values]:
    """Fit a ridge regression on balanced features; the penalty is the best of four on a held-out fifth.

    It also reads 1 - p and the entropy, which the features hold as logarithms: the loss grows with them.
    """
    viewed = _with_probabilities(view(block))
    scale = BalancedScale(viewed)
    values = scale(viewed)
    held_out = np.arange(len(values)) % 5 == 4
    scores = [
        Ridge(alpha).fit(values[~held_out], loss[~held_out]).score(values[held_out], loss[held_out])
        for alpha in _PENALTIES
    ]
    model = Ridge(_PENALTIES[int(np.argmax(scores))]).fit(values, loss)
    return lambda test: np.asarray(model.predict(scale(_with_probabilities(view(test)))))


def _with_probabilities(block: FeatureBlock) -> FeatureBlock:
    """Add 1 - p of the predicted class and the entropy to features that hold their logarithms."""
    columns = block.axes.where(lambda feature: feature.source == OUTPUTS and feature.statistic in _LOGARITHMS)
    added = [Feature(OUTPUTS, _LOGARITHMS[block.axes.features[column].statistic]) for column in columns]
    values = np.hstack([block.values, np.exp(block.values[:, columns])])
    return FeatureBlock(values, FeatureAxes((*block.axes.features, *added)))


def fit_boosting(block: FeatureBlock, loss: Values, view: View) -> Callable[[FeatureBlock], Values]:
    """Fit gradient boosting of 60 trees, each split of which considers a tenth of the features."""
    model = HistGradientBoostingRegressor(
        max_iter=_TREES, max_features=_FEATURE_SHARE, early_stopping=False, random_state=0
    )
    model.fit(view(block).values, loss)
    return lambda test: np.asarray(model.predict(view(test).values))


REGRESSORS = {RIDGE: fit_ridge, BOOSTING: fit_boosting}
"""Functions that fit a regressor to features and losses [n], by name."""
