"""Logistic regression that knows which way some features point."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import BaseEstimator

Values = NDArray[np.float64]


class SignedLogisticRegression(BaseEstimator):  # type: ignore[misc]
    """Logistic regression in which the weights of the first features are not negative.

    Where no weight would be, it is scikit-learn's `LogisticRegression(C=C, class_weight="balanced")`.

    Args:
        C: inverse strength of the penalty, as scikit-learn's.
        positive: how many of the features have weights that are not negative.

    Attributes:
        coef_: [d] weights.
        intercept_: is not penalised.
    """

    def __init__(self, C: float = 1.0, positive: int = 0) -> None:
        self.C = C
        self.positive = positive

    def fit(self, X: Values, y: NDArray[np.bool_]) -> Self:
        """Fit to samples [n, d] and targets [n], of which there are both."""
        sign = np.where(y, 1.0, -1.0)
        weight = self.C * len(y) / 2 / np.where(y, np.count_nonzero(y), np.count_nonzero(~y))

        def loss(at: Values) -> tuple[float, Values]:
            margin = sign * (X @ at[:-1] + at[-1])
            slope = -weight * sign * expit(-margin)
            value = weight @ np.logaddexp(0, -margin) + at[:-1] @ at[:-1] / 2
            return float(value), np.append(X.T @ slope + at[:-1], slope.sum())

        width = X.shape[1]
        limits = [(0.0, np.inf)] * self.positive + [(-np.inf, np.inf)] * (width + 1 - self.positive)
        found = minimize(
            loss, np.zeros(width + 1), jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": 3000}
        )
        self.coef_, self.intercept_ = found.x[:-1], float(found.x[-1])
        return self

    def decision_function(self, X: Values) -> Values:
        """[n] log odds of True, for samples [n, d]."""
        odds: Values = X @ self.coef_ + self.intercept_
        return odds
