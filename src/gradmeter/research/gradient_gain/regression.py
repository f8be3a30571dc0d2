"""Meta regression: predict the loss of a known input, -log p(true class), from what is read of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

from gradmeter.research.gradient_gain.judges import BalancedScale
from gradmeter.research.gradient_gain.variants import View
from gradmeter.trust.features import FeatureBlock

Values = NDArray[np.float64]

RIDGE, BOOSTING = "ridge", "gradient boosting"

_PENALTIES = (0.1, 1.0, 10.0, 100.0)
_TREES, _FEATURE_SHARE = 60, 0.1


def fit_ridge(block: FeatureBlock, loss: Values, view: View) -> Callable[[FeatureBlock], Values]:
    """Fit a ridge regression on balanced features; the penalty is the best of four on a held-out fifth."""
    viewed = view(block)
    scale = BalancedScale(viewed)
    values = scale(viewed)
    held_out = np.arange(len(values)) % 5 == 4
    scores = [
        Ridge(alpha).fit(values[~held_out], loss[~held_out]).score(values[held_out], loss[held_out])
        for alpha in _PENALTIES
    ]
    model = Ridge(_PENALTIES[int(np.argmax(scores))]).fit(values, loss)
    return lambda test: np.asarray(model.predict(scale(view(test))))


def fit_boosting(block: FeatureBlock, loss: Values, view: View) -> Callable[[FeatureBlock], Values]:
    """Fit gradient boosting of 60 trees, each split of which considers a tenth of the features."""
    model = HistGradientBoostingRegressor(
        max_iter=_TREES, max_features=_FEATURE_SHARE, early_stopping=False, random_state=0
    )
    model.fit(view(block).values, loss)
    return lambda test: np.asarray(model.predict(view(test).values))


REGRESSORS = {RIDGE: fit_ridge, BOOSTING: fit_boosting}
"""Functions that fit a regressor to features and losses [n], by name."""
