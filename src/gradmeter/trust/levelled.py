"""P(known) where the softmax ranks known inputs: one value for usual inputs, and its own for each unusual input."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator

Values = NDArray[np.float64]

UNFAMILIAR_SHARE = 0.001
"""Share of the known inputs that count as unfamiliar."""

# On a ResNet-20 with CIFAR-10, 0.001 gained 0.03 points of AUROC on wrong predictions over 0.01, and lost 0.8 on
# Tiny-ImageNet, when unusual inputs counted less than they do now.
_UNUSUAL_SHARE = 0.01


class LevelledOdds(BaseEstimator):  # type: ignore[misc]
    """Log odds of being unknown that do not change how the 99 % most familiar known inputs are ranked.

    Attributes:
        usual_: largest log odds of a usual input; all known inputs but 1 % are usual.
        familiar_: the same for all known inputs but the share `UNFAMILIAR_SHARE`.
        level_: the log odds that all usual inputs get. They lose P(correct) on average as by their own.
    """

    def fit(self, odds: Values, right: Values) -> Self:
        """Fit to known inputs.

        Args:
            odds: [n] log odds of being unknown.
            right: [n] P(correct | known).
        """
        self.usual_, self.familiar_ = (upper_quantile(odds, share) for share in (_UNUSUAL_SHARE, UNFAMILIAR_SHARE))
        usual = odds <= self.usual_
        unknown, known = (np.average(expit(sign * odds[usual]), weights=right[usual]) for sign in (1, -1))
        self.level_ = float(np.log(unknown) - np.log(known))
        return self

    def __call__(self, odds: Values) -> Values:
        """Return the log odds that lower P(correct), from those of being unknown, both [n]."""
        return np.where(odds > self.usual_, odds, self.level_)


def upper_quantile(odds: Values, share: float) -> float:
    """Return the smallest of the log odds [n] that no more than a share of them exceed."""
    return float(np.quantile(odds, 1 - share, method="higher"))
