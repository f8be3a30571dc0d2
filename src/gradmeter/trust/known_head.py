"""P(the prediction is wrong | the input is known), from validation labels."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler

from gradmeter.trust.smoothing import fit_smoothed

Values = NDArray[np.float64]

FOLDS = 5
# The gain over the softmax must exceed this many standard errors.
_STANDARD_ERRORS = 2.0
# With fewer wrong or fewer right predictions, only the softmax is used.
_LEAST_OF_EITHER = 2 * FOLDS
_ROUNDING = 1e-12
# Factor of the softmax feature: so large a feature needs a weight so small that it is hardly penalised.
_SOFTMAX_FACTOR = 30.0
_CS = 10.0 ** np.arange(1, -4.1, -0.5)


class KnownHead(BaseEstimator):  # type: ignore[misc]
    """Logistic regression on the softmax, and on other features if they improve held-out predictions.

    The log odds of the softmax have nearly no penalty. The penalty of the other features minimises the log loss of
    five held-out folds. If the mean log loss does not improve on that of the softmax alone by more than two standard
    errors over the samples, only the softmax is used: from a few dozen wrong predictions, other features mislead as
    often as they help. If P(wrong) would rise with confidence, P(wrong) is 1 minus the maximum softmax probability.
    """

    def fit(self, X: Values, log_scale: Values, wrong: NDArray[np.bool_]) -> Self:
        """Fit to known samples.

        Args:
            X: [n, d] features.
            log_scale: [n] log(1 - p) of the predicted class.
            wrong: [n] whether the prediction was wrong.
        """
        self.features_ = StandardScaler().fit(X)
        odds = _log_odds(log_scale)
        self.centre_, spread = float(odds.mean()), float(odds.std())
        # Equal numbers may have a standard deviation of the size of rounding errors.
        self.spread_ = spread if spread > _ROUNDING * abs(self.centre_) else 1.0
        self.softmax_: LogisticRegression | None = None
        self.everything_: LogisticRegression | None = None
        softmax = self._softmax_column(log_scale)
        least = min(np.count_nonzero(wrong), np.count_nonzero(~wrong))
        if not least:
            return self
        model = LogisticRegression(C=1.0, max_iter=1000)
        if least < _LEAST_OF_EITHER:
            fit_smoothed(model, softmax, wrong)
        else:
            model.fit(softmax, wrong)
        if model.coef_[0, 0] > 0:
            self.softmax_ = model
        if least >= _LEAST_OF_EITHER:
            self._fit_everything(self._all_columns(X, log_scale), softmax, wrong, model)
        return self

    def _fit_everything(
        self, everything: Values, softmax: Values, wrong: NDArray[np.bool_], baseline: LogisticRegression
    ) -> None:
        """Fit to all columns [n, d + 1]; keep the model if it is clearly better than the baseline on the softmax."""
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        p_baseline = cross_val_predict(baseline, softmax, wrong, cv=folds, method="predict_proba")[:, 1]
        search = LogisticRegressionCV(
            Cs=_CS,
            l1_ratios=(0.0,),
            cv=folds,
            scoring="neg_log_loss",
            max_iter=2000,
            use_legacy_attributes=False,
        ).fit(everything, wrong)
        model = LogisticRegression(C=float(np.ravel(search.C_)[0]), max_iter=2000)
        p_model = cross_val_predict(model, everything, wrong, cv=folds, method="predict_proba")[:, 1]
        gain = _log_losses(wrong, p_baseline) - _log_losses(wrong, p_model)
        if gain.mean() > _STANDARD_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)):
            model.fit(everything, wrong)
            if model.coef_[0, 0] > 0:
                self.everything_ = model

    @property
    def softmax_only_(self) -> bool:
        """Whether only the softmax is used."""
        return self.everything_ is None

    def probability(self, X: Values, log_scale: Values, *, by_softmax: bool = False) -> Values:
        """Return P(wrong) [n].

        Args:
            X: [n, d] features.
            log_scale: [n] log(1 - p) of the predicted class.
            by_softmax: use only the softmax, even if other features improve on it.
        """
        if self.everything_ is not None and not by_softmax:
            p_wrong: Values = self.everything_.predict_proba(self._all_columns(X, log_scale))[:, 1]
        elif self.softmax_ is not None:
            p_wrong = self.softmax_.predict_proba(self._softmax_column(log_scale))[:, 1]
        else:
            p_wrong = np.exp(log_scale)
        return p_wrong

    def _softmax_column(self, log_scale: Values) -> Values:
        """Return the scaled log odds of the softmax, [n, 1]."""
        column: Values = _SOFTMAX_FACTOR * (_log_odds(log_scale)[:, None] - self.centre_) / self.spread_
        return column

    def _all_columns(self, X: Values, log_scale: Values) -> Values:
        """Return the softmax column and the standardised features, [n, d + 1]."""
        return np.hstack([self._softmax_column(log_scale), self.features_.transform(X)])


def _log_odds(log_scale: Values) -> Values:
    """Return the log odds of 1 - p from log(1 - p)."""
    odds: Values = log_scale - np.log(-np.expm1(np.minimum(log_scale, -1e-12)))
    return odds


def _log_losses(wrong: NDArray[np.bool_], p_wrong: Values) -> Values:
    """Return the log loss of each sample [n], clipped as scikit-learn's `log_loss` does."""
    epsilon = np.finfo(np.float64).eps
    p = p_wrong.clip(epsilon, 1 - epsilon)
    losses: Values = -np.where(wrong, np.log(p), np.log1p(-p))
    return losses
