"""P(the prediction is wrong | the input is known), from validation labels."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlog1py, xlogy
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler

from gradmeter.meta.smoothing import fit_smoothed

Values = NDArray[np.float64]

FOLDS = 5
# How many standard errors what is gained over the softmax must have.
_ERRORS = 2.0
# With fewer wrong predictions nothing but the softmax can be learned from.
_LEAST_WRONG = 2 * FOLDS
# How much larger than the other features the softmax's is: a penalty hardly sees its weight.
_FREE = 30.0
_CS = 10.0 ** np.arange(1, -4.1, -0.5)


class KnownHead(BaseEstimator):  # type: ignore[misc]
    """Logistic regression that begins at the softmax and leaves it as far as held-out predictions say that it pays.

    The log odds of the softmax enter nearly without a penalty, everything else with one that is chosen by the log loss
    of held-out fifths. Where even the best of these is not clearly better than the softmax alone, by two standard
    errors of the mean difference over samples, that remains: a few dozen wrong predictions lead astray as often as not.

    Attributes:
        held_out_: [n] P(wrong) of the samples it learned from, by regressions that had not; of fewer than ten wrong
            or right ones by the one that had.
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
        self.centre_, self.spread_ = float(odds.mean()), float(odds.std()) or 1.0
        self.model_, self.softmax_only_ = None, True
        if not 0 < np.count_nonzero(wrong) < len(wrong):
            # Nothing to learn from: the softmax is taken at its word.
            self.held_out_ = np.exp(log_scale)
            return self
        softmax, everything = self._columns(X, log_scale, alone=True), self._columns(X, log_scale, alone=False)
        self.model_ = LogisticRegression(C=1.0, max_iter=1000)
        if np.count_nonzero(wrong) < _LEAST_WRONG or np.count_nonzero(~wrong) < _LEAST_WRONG:
            fit_smoothed(self.model_, softmax, wrong)
            if self.model_.coef_[0, 0] <= 0:
                # By the chance of a few wrong predictions; their order must stay the softmax's.
                self.model_, self.held_out_ = None, np.exp(log_scale)
                return self
            self.held_out_ = self.model_.predict_proba(softmax)[:, 1]
            return self
        self.model_.fit(softmax, wrong)
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        self.held_out_ = cross_val_predict(self.model_, softmax, wrong, cv=folds, method="predict_proba")[:, 1]
        chosen = LogisticRegressionCV(
            Cs=_CS,
            l1_ratios=(0.0,),
            cv=folds,
            scoring="neg_log_loss",
            max_iter=2000,
            use_legacy_attributes=False,
        ).fit(everything, wrong)
        again = LogisticRegression(C=float(np.ravel(chosen.C_)[0]), max_iter=2000)
        held_out = cross_val_predict(again, everything, wrong, cv=folds, method="predict_proba")[:, 1]
        gain = _log_losses(wrong, self.held_out_) - _log_losses(wrong, held_out)
        if gain.mean() > _ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)):
            self.model_, self.softmax_only_ = again.fit(everything, wrong), False
            self.held_out_ = held_out
        return self

    def probability(self, X: Values, log_scale: Values) -> Values:
        """[n] P(wrong), for samples as in `fit`."""
        if self.model_ is None:
            return np.exp(log_scale)
        columns = self._columns(X, log_scale, alone=self.softmax_only_)
        found: Values = self.model_.predict_proba(columns)[:, 1]
        return found

    def _columns(self, X: Values, log_scale: Values, *, alone: bool) -> Values:
        softmax = _FREE * (_log_odds(log_scale)[:, None] - self.centre_) / self.spread_
        return softmax if alone else np.hstack([softmax, self.features_.transform(X)])


def _log_odds(log_scale: Values) -> Values:
    """Of 1 - p, from its logarithm."""
    odds: Values = log_scale - np.log(-np.expm1(np.minimum(log_scale, -1e-12)))
    return odds


def _log_losses(wrong: NDArray[np.bool_], p_wrong: Values) -> Values:
    """[n] of single samples."""
    found: Values = -xlogy(wrong, p_wrong) - xlog1py(~wrong, -p_wrong)
    return found
