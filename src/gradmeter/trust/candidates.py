"""Candidate models of P(wrong | known): each maps the features of known predictions to log odds of being wrong."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from gradmeter.trust.confidence import Confidence, ScoredFeatures
from gradmeter.trust.smoothing import fit_smoothed
from gradmeter.trust.unchecked import log_odds, standardised

Values = NDArray[np.float64]

# Factor of a feature that is to have hardly any penalty: it needs a weight so small that it costs nothing.
UNPENALISED = 30.0
_ROUNDING = 1e-12
# A slope that hardly changes probabilities.
_SLIGHT = 1e-3
# With scikit-learn's default tolerance, 1e-4, the third digit of probabilities depends on rounding errors.
_TOLERANCE, _MOST_ITERATIONS = 1e-6, 2000
FEW = 10
"""With fewer wrong or fewer right predictions, targets are smoothed, and nothing but the softmax is used."""


class ConfidenceCurve(BaseEstimator):  # type: ignore[misc]
    """A logistic curve of a confidence score: P(wrong) does not rise with confidence.

    Args:
        confidence: the score; None for the softmax.

    Attributes:
        model_: the regression of "wrong" on the columns, of which the doubt is the first.
        centre_, spread_: mean and standard deviation of the doubt.
        rises_: whether P(wrong) rises with the doubt, as it should. If not, the doubt has no weight, or hardly any.
    """

    _strength = 1.0

    def __init__(self, confidence: Confidence | None = None) -> None:
        self.confidence = confidence

    def fit(self, X: ScoredFeatures, wrong: NDArray[np.bool_]) -> Self:
        """Fit to the features of known predictions, and whether these were wrong [n]."""
        self._prepare(X)
        doubts = X.doubts
        self.centre_, spread = float(doubts.mean()), float(doubts.std())
        # Equal numbers may have a standard deviation of the size of rounding errors.
        self.spread_ = spread if spread > _ROUNDING * abs(self.centre_) else 1.0
        columns = self._columns(X)
        self.model_ = self._fitted(columns, wrong)
        self.rises_ = bool(self.model_.coef_[0, 0] > 0)
        return self if self.rises_ else self._fit_without_confidence(X, columns, wrong)

    def fit_level(self, X: ScoredFeatures, wrong: NDArray[np.bool_], slope: float = 1.0) -> Self:
        """Fit the level alone: the log odds are a multiple of the doubt plus a constant.

        For predictions whose doubt says nothing about right and wrong, or the contrary, and where all are right or
        all wrong. P(wrong) is right on average, which is (wrong + 1) / (n + 2), Laplace's rule.
        """
        self._prepare(X)
        doubts = slope * X.doubts
        self.centre_, self.spread_ = 0.0, UNPENALISED
        target = (np.count_nonzero(wrong) + 1) / (len(wrong) + 2)
        farthest = float(np.abs(doubts).max()) + abs(float(logit(target))) + 1
        level = brentq(lambda shift: float(expit(doubts + shift).mean()) - target, -farthest, farthest)
        self.model_ = regression(self._strength)
        self.model_.classes_, self.model_.n_features_in_ = np.array([False, True]), 1
        self.model_.coef_, self.model_.intercept_ = np.array([[slope]]), np.array([level])
        return self

    def log_odds(self, X: ScoredFeatures) -> Values:
        """Return the log odds of being wrong, [n]."""
        return log_odds(self.model_, self._columns(X))

    def _fitted(self, columns: Values, wrong: NDArray[np.bool_]) -> LogisticRegression:
        few = min(np.count_nonzero(wrong), np.count_nonzero(~wrong)) < FEW
        model = regression(self._strength)
        return fit_smoothed(model, columns, wrong) if few else model.fit(columns, wrong)

    def _fit_without_confidence(self, X: ScoredFeatures, columns: Values, wrong: NDArray[np.bool_]) -> Self:
        # The best slope that is not negative is 0; this one keeps the order of predictions.
        return self.fit_level(X, wrong, _SLIGHT)

    def _prepare(self, X: ScoredFeatures) -> None:
        """Fit what the columns need."""

    def _columns(self, X: ScoredFeatures) -> Values:
        column: Values = UNPENALISED * (X.doubts[:, None] - self.centre_) / self.spread_
        return column


class Regression(ConfidenceCurve):
    """Logistic regression on a confidence score, nearly unpenalised, and on one group of features.

    If P(wrong) would rise with confidence, all else equal, the score has no weight.

    Args:
        confidence: the score.
        group: name of the group.
        strength: inverse penalty, scikit-learn's C.
    """

    def __init__(self, confidence: Confidence | None = None, group: str = "", strength: float = 1.0) -> None:
        super().__init__(confidence)
        self.group = group
        self.strength = strength

    @property
    def _strength(self) -> float:  # type: ignore[override]
        return self.strength

    def _fit_without_confidence(self, X: ScoredFeatures, columns: Values, wrong: NDArray[np.bool_]) -> Self:
        self.model_ = self._fitted(columns[:, 1:], wrong)
        self.model_.coef_, self.model_.n_features_in_ = np.insert(self.model_.coef_, 0, 0.0, axis=1), columns.shape[1]
        return self

    def _prepare(self, X: ScoredFeatures) -> None:
        self.scaler_ = StandardScaler().fit(X.groups[self.group])

    def _columns(self, X: ScoredFeatures) -> Values:
        return np.hstack([super()._columns(X), standardised(self.scaler_, X.groups[self.group])])


def regression(strength: float) -> LogisticRegression:
    """A logistic regression with this inverse penalty, which is fitted to its optimum."""
    return LogisticRegression(C=strength, tol=_TOLERANCE, max_iter=_MOST_ITERATIONS)
