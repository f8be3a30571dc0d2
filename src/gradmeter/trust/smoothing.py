"""Logistic regression on smoothed targets (Platt 1999)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression


def fit_smoothed(model: LogisticRegression, X: NDArray[np.float64], target: NDArray[np.bool_]) -> LogisticRegression:
    """Fit to samples [n, d] with Platt's smoothed targets, which are closer to 1/2 the fewer samples a class has.

    With hard targets, a few samples that a threshold separates would give infinitely steep odds, and all other samples
    would tie at 0 or 1.
    """
    true, false = np.count_nonzero(target), np.count_nonzero(~target)
    share = np.where(target, (true + 1) / (true + 2), 1 / (false + 2))
    # scikit-learn has no soft targets: each sample enters once as True and once as False, weighted by its target.
    return model.fit(
        np.concatenate([X, X]), np.repeat([True, False], len(X)), sample_weight=np.concatenate([share, 1 - share])
    )
