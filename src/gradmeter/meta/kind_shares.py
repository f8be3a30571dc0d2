"""In which shares kinds of unknown inputs are to be expected, so that known inputs pay the same for each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit, logsumexp

Values = NDArray[np.float64]

# Known inputs that may be lost altogether: a single one that is like a kind would keep it from being expected at all.
_OUTLIERS = 0.0025


def kind_log_odds(log_ratios: Values, loss: float, largest_share: float) -> Values:
    """[kinds] logarithms of the share of a kind over the share of known inputs.

    What can be told from known inputs may be expected often: they lose nothing by it. What cannot may not.

    Args:
        log_ratios: [n, kinds] log likelihood ratios, of known inputs.
        loss: what is lost to each kind of the known inputs' P(known), on average.
        largest_share: of all kinds together; where `loss` would lead beyond, the commonest kinds are cut to the same.
    """
    kept = len(log_ratios) - int(_OUTLIERS * len(log_ratios))
    odds = np.array([_at_loss(ratios, loss) for ratios in np.sort(log_ratios, axis=0)[:kept].T])
    most = float(logit(largest_share))
    if logsumexp(odds) <= most:
        return odds

    def excess(level: float) -> float:
        return float(logsumexp(odds.clip(max=level))) - most

    cut: Values = odds.clip(max=brentq(excess, most - np.log(len(odds)) - 1e-6, odds.max()))
    return cut


def _at_loss(ratios: Values, loss: float) -> float:
    """Log odds at which the mean of P(unknown) is the loss."""
    middle = float(logit(loss))
    lowest, highest = middle - ratios.max(), middle - ratios.min()
    if lowest == highest:
        return float(lowest)
    return float(brentq(lambda odds: expit(ratios + odds).mean() - loss, lowest - 1e-6, highest + 1e-6))
