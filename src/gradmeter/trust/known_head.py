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
# How many of them what is gained over the softmax must have.
_STANDARD_ERRORS = 2.0
# With fewer wrong predictions, or right ones, nothing but the softmax can be learned from.
_LEAST_OF_EITHER = 2 * FOLDS
_ROUNDING = 1e-12
# How much larger than the other features the softmax's is: a penalty hardly sees its weight.
_FREE = 30.0
_CS = 10.0 ** np.arange(1, -4.1, -0.5)


class KnownHead(BaseEstimator):  # type: ignore[misc]
    """Logistic regression that begins at the softmax and leaves it as far as held-out predictions say that it pays.

    The log odds of the softmax enter nearly without a penalty, everything else with one that is chosen by the log loss
    of held-out fifths. Where even the best of these is not clearly better than the softmax alone, by two standard
    errors of the mean difference over samples, that remains: a few dozen wrong predictions lead astray as often as not.
    If P(wrong) would rise with the confidence, 1 minus the largest softmax output is P(wrong).
    """

    def fit(self, X: Values, log_scale: Values, wrong: NDArray[np.bool_]) -> Self:
        """Learn.

        Args:
            X: [n, d] features.
            log_scale: [n] log(1 - p) of the predicted class.
            wrong: [n] whether the prediction was wrong.
        """
        self.features_ = StandardScaler().fit(X)
        odds = _log_odds(log_scale)
        self.centre_, spread = float(odds.mean()), float(odds.std())
        # Equal numbers differ by rounding.
        self.spread_ = spread if spread > _ROUNDING * abs(self.centre_) else 1.0
        self.softmax_, self.everything_ = None, None
        softmax, everything = self._columns(X, log_scale, alone=True), self._columns(X, log_scale, alone=False)
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
        if least < _LEAST_OF_EITHER:
            return self
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        before = cross_val_predict(model, softmax, wrong, cv=folds, method="predict_proba")[:, 1]
        chosen = LogisticRegressionCV(
            Cs=_CS,
            l1_ratios=(0.0,),
            cv=folds,
            scoring="neg_log_loss",
            max_iter=2000,
            use_legacy_attributes=False,
        ).fit(everything, wrong)
        again = LogisticRegression(C=float(np.ravel(chosen.C_)[0]), max_iter=2000)
        after = cross_val_predict(again, everything, wrong, cv=folds, method="predict_proba")[:, 1]
        gain = _log_losses(wrong, before) - _log_losses(wrong, after)
        if gain.mean() > _STANDARD_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)):
            again.fit(everything, wrong)
            if again.coef_[0, 0] > 0:
                self.everything_ = again
        return self

    @property
    def softmax_only_(self) -> bool:
        """Whether nothing but the softmax is learned from."""
        return self.everything_ is None

    def probability(self, X: Values, log_scale: Values, *, by_softmax: bool = False) -> Values:
        """[n] P(wrong), for samples as in `fit`.

        Args:
            X: [n, d] features.
            log_scale: [n] log(1 - p) of the predicted class.
            by_softmax: look at nothing but the softmax, even where more was learned from.
        """
        if self.everything_ is not None and not by_softmax:
            p_wrong: Values = self.everything_.predict_proba(self._columns(X, log_scale, alone=False))[:, 1]
        elif self.softmax_ is not None:
            p_wrong = self.softmax_.predict_proba(self._columns(X, log_scale, alone=True))[:, 1]
        else:
            p_wrong = np.exp(log_scale)
        return p_wrong

    def _columns(self, X: Values, log_scale: Values, *, alone: bool) -> Values:
        softmax = _FREE * (_log_odds(log_scale)[:, None] - self.centre_) / self.spread_
        return softmax if alone else np.hstack([softmax, self.features_.transform(X)])


def _log_odds(log_scale: Values) -> Values:
    """Of 1 - p, from its logarithm."""
    odds: Values = log_scale - np.log(-np.expm1(np.minimum(log_scale, -1e-12)))
    return odds


def _log_losses(wrong: NDArray[np.bool_], p_wrong: Values) -> Values:
    """[n] of single samples, as scikit-learn's `log_loss` cuts them off."""
    epsilon = np.finfo(np.float64).eps
    p = p_wrong.clip(epsilon, 1 - epsilon)
    losses: Values = -np.where(wrong, np.log(p), np.log1p(-p))
    return losses
