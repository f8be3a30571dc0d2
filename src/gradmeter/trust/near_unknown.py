"""Unknown inputs that resemble known ones: nothing stands for them in training but the size of their largest logit."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logsumexp
from sklearn.base import BaseEstimator
from sklearn.metrics import roc_auc_score

Values = NDArray[np.float64]

# Log odds per standard deviation of the largest logit. On ResNet-20 (CIFAR-10), 2 and 8 gained less than 4 on
# CIFAR-100 at the same loss of P(correct).
SLOPE = 4.0
# Losses of P(correct) to try, as parts of the error rate, and the largest.
_OF_ERROR_RATE, _MOST = (0.05, 0.1, 0.2, 0.4), 0.02
_LARGEST_ODDS = 700.0


class NearUnknown(BaseEstimator):  # type: ignore[misc]
    """Log odds that an input is unknown, though it resembles known ones, from its largest logit.

    A network gives inputs of similar classes smaller largest logits (Hendrycks et al. 2022). The assumed density of
    near unknown inputs is that of the known ones times an exponential function of the standardised largest logit.
    Their share is the largest of a few for which P(correct) still separates the wrong predictions of known inputs from
    the right ones as well as without them, by AUROC. It is 0 if there is none.

    Attributes:
        mean_, spread_: mean and standard deviation of the largest logit of known inputs.
        log_share_: log odds of near unknown inputs to known ones, and minus infinity if none are assumed.
        normaliser_: logarithm of the mean of the exponential function over known inputs.
    """

    def fit(self, largest: Values, wrong_odds: Values, odds: Values, wrong: NDArray[np.bool_]) -> Self:
        """Fit to n known inputs.

        Args:
            largest: [n] largest logits.
            wrong_odds: [n] log odds that the prediction is wrong if the input is known.
            odds: [n] log odds that the input is unknown in another way.
            wrong: [n] whether the prediction is wrong.
        """
        self.mean_, spread = float(largest.mean()), float(largest.std())
        self.spread_ = spread if spread > 0 else 1.0
        self.normaliser_, self.log_share_ = 0.0, -np.inf
        tilt = self._tilt(largest)
        self.normaliser_ = float(logsumexp(tilt) - np.log(len(tilt)))
        if not spread > 0 or wrong.all() or not wrong.any():
            return self
        right = expit(-wrong_odds)

        def p_correct(log_share: float) -> Values:
            return np.asarray(right * expit(-np.logaddexp(odds, self._tilt(largest) + log_share)))

        before = p_correct(-np.inf)
        separation = roc_auc_score(~wrong, before)

        def excess(log_share: float, loss: float) -> float:
            return float((before - p_correct(log_share)).mean() - loss)

        for part in _OF_ERROR_RATE:
            loss = min(part * wrong.mean(), _MOST)
            if loss >= before.mean() / 2:
                break
            share = brentq(excess, -_LARGEST_ODDS, _LARGEST_ODDS, args=(loss,))
            if roc_auc_score(~wrong, p_correct(share)) < separation:
                break
            self.log_share_ = float(share)
        return self

    def log_odds(self, largest: Values) -> Values:
        """Return the log odds [n] that inputs are near unknown ones, from their largest logits [n]."""
        return self._tilt(largest) + self.log_share_

    def _tilt(self, largest: Values) -> Values:
        """Return the log likelihood ratios [n] of near unknown inputs to known ones."""
        return SLOPE * (self.mean_ - largest) / self.spread_ - self.normaliser_
