"""Logistic regression with sign constraints on some weights."""

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

    If no constraint is active, it equals scikit-learn's `LogisticRegression(C=C, class_weight="balanced")`.

    Args:
        C: inverse strength of the penalty, as in scikit-learn.
        positive: number of leading features whose weights are not negative.

    Attributes:
        coef_: [d] weights.
        intercept_: intercept, without a penalty.
    """

    def __init__(self, C: float = 1.0, positive: int = 0) -> None:
        self.C = C
        self.positive = positive

    def fit(self, X: Values, y: NDArray[np.bool_]) -> Self:
        """Fit to samples [n, d] and targets [n], which must include both True and False."""
        sign = np.where(y, 1.0, -1.0)
        weight = self.C * balanced_weights(y)

        def loss_and_gradient(parameters: Values) -> tuple[float, Values]:
            coefficients = parameters[:-1]
            margin = sign * (X @ coefficients + parameters[-1])
            slope = -weight * sign * expit(-margin)
            loss = weight @ np.logaddexp(0, -margin) + coefficients @ coefficients / 2
            return float(loss), np.append(X.T @ slope + coefficients, slope.sum())

        width = X.shape[1]
        bounds = [(0.0, np.inf)] * self.positive + [(-np.inf, np.inf)] * (width + 1 - self.positive)
        optimum = minimize(
            loss_and_gradient,
            np.zeros(width + 1),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": 3000},
        )
        self.coef_, self.intercept_ = optimum.x[:-1], float(optimum.x[-1])
        return self

    def decision_function(self, X: Values) -> Values:
        """Return the log odds [n] of True, for samples [n, d]."""
        odds: Values = X @ self.coef_ + self.intercept_
        return odds

    def left_out(self, X: Values, y: NDArray[np.bool_]) -> Values:
        """Return the log odds [n] that each sample of `fit` would get from a fit without it.

        One Newton step from the optimum leaves a sample out; weights at their bound stay there
        (Rad and Maleki 2020, https://arxiv.org/abs/1801.10243).

        Args:
            X: the samples given to `fit`.
            y: their targets.
        """
        odds = self.decision_function(X)
        sign, weight = np.where(y, 1.0, -1.0), self.C * balanced_weights(y)
        curvature = weight * expit(odds) * expit(-odds)
        free = np.append(self.coef_ != 0, True)  # the intercept, too
        columns = np.column_stack([X, np.ones(len(X))])[:, free]
        penalty = np.ones(columns.shape[1])
        penalty[-1] = 0.0
        hessian = (columns.T * curvature) @ columns + np.diag(penalty)
        leverage = np.einsum("nd,nd->n", columns, np.linalg.solve(hessian, columns.T).T)
        slope = -weight * sign * expit(-sign * odds)
        moved: Values = odds + leverage * slope / (1 - leverage * curvature)
        return moved


def balanced_weights(y: NDArray[np.bool_]) -> Values:
    """Weights [n] of samples with which both targets have the same total weight and the mean weight is 1."""
    weights: Values = len(y) / 2 / np.where(y, np.count_nonzero(y), np.count_nonzero(~y))
    return weights
