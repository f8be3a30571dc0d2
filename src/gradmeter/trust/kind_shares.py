"""In which shares kinds of unknown inputs are to be expected: by what known inputs pay for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit, logsumexp

Values = NDArray[np.float64]

# Known inputs may lose this part of the rate of wrong predictions, and at most so much: what they lose ranks right
# predictions among the wrong ones, and has to be little beside these.
_OF_ERRORS, _MOST = 0.2, 0.01
# Known inputs that may be lost altogether, on top and in units of that loss: a single one that is like a kind would
# keep it from being expected at all. Of few inputs that is less than one, and it does.
_ODD = 0.25
# Beyond, odds are certainty, and a share would have no digits.
_LARGEST_ODDS = 30.0


def bearable_loss(wrong: NDArray[np.bool_]) -> float:
    """What known inputs may lose of P(known) on average, from whether their predictions were wrong, [n]: a fifth of
    the rate of wrong predictions, and at most 1 %.
    """
    # Half a wrong prediction more, for where there are none.
    return min(_OF_ERRORS * (np.count_nonzero(wrong) + 0.5) / (len(wrong) + 1), _MOST)


def kind_log_odds(log_ratios: Values, loss: float) -> Values:
    """[kinds] logarithms of the share of a kind over the share of known inputs.

    What can be told from known inputs may be expected often: they lose nothing by it. What cannot may not. Each kind
    alone costs known inputs about the same.

    Args:
        log_ratios: [n, kinds] log likelihood ratios, of known inputs.
        loss: what known inputs lose of P(known) to all kinds together, on average over all but the oddest.
    """
    samples, kinds = log_ratios.shape
    kept = samples - int(_ODD * loss * samples)
    odds = np.array([_at_loss(ratios, loss / kinds, kept) for ratios in log_ratios.T])
    # One input may be odd to several kinds, so that together they cost less.
    odds += _at_loss(logsumexp(log_ratios + odds, axis=1), loss, kept)
    return odds.clip(-_LARGEST_ODDS, _LARGEST_ODDS)


def unknown_log_odds(log_ratios: Values, odds: Values) -> Values:
    """[n] log odds that an input is unknown, from log likelihood ratios [n, kinds] and log odds of the kinds."""
    found: Values = logsumexp(log_ratios + odds, axis=1)
    return found


def _at_loss(ratios: Values, loss: float, kept: int) -> float:
    """Log odds at which the mean of P(unknown) is the loss, over so many of the smallest ratios."""
    ratios = np.sort(ratios)[:kept]
    middle = float(logit(loss))
    lowest, highest = middle - ratios[-1], middle - ratios[0]
    if lowest == highest:
        return float(lowest)
    return float(brentq(lambda odds: expit(ratios + odds).mean() - loss, lowest - 1e-6, highest + 1e-6))
