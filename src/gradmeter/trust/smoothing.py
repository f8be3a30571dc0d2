"""Logistic regression on smoothed targets (Platt 1999)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression


def fit_smoothed(model: LogisticRegression, X: NDArray[np.float64], target: NDArray[np.bool_]) -> LogisticRegression:
    """Fit to samples [n, d] and targets [n] that are a little less than certain, the less the fewer there are.

    A few samples that a threshold parts make no infinitely steep odds, which would leave no order.
    """
    true, false = np.count_nonzero(target), np.count_nonzero(~target)
    share = np.where(target, (true + 1) / (true + 2), 1 / (false + 2))
    # scikit-learn's targets are classes: every sample counts as either, in the share that its target says.
    return model.fit(
        np.concatenate([X, X]), np.repeat([True, False], len(X)), sample_weight=np.concatenate([share, 1 - share])
    )
