"""Assumed shares of the kinds of unknown inputs, from the loss of P(known) that known inputs tolerate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit, logsumexp

Values = NDArray[np.float64]

# Known inputs may lose this part of the error rate, and at most _MOST. The loss moves right predictions down among the
# wrong ones, so it must stay small compared with the error rate.
_OF_ERROR_RATE, _MOST = 0.2, 0.01
# Share of the known inputs that are left out of the average, as a multiple of the loss. Otherwise a single known input
# that resembles a kind would make the share of this kind negligible; with few known inputs none is left out.
_OUTLIERS = 0.25
# Odds beyond this are certain, and the share would have no significant digits.
_LARGEST_ODDS = 30.0


def tolerated_loss(wrong: NDArray[np.bool_]) -> float:
    """Return the average loss of P(known) that known inputs tolerate: a fifth of the error rate, at most 1 %.

    Args:
        wrong: [N] whether the prediction of a known input was wrong.
    """
    # Half an error is added, for the case of no error.
    return min(_OF_ERROR_RATE * (np.count_nonzero(wrong) + 0.5) / (len(wrong) + 1), _MOST)


def kind_log_odds(log_ratios: Values, loss: float) -> Values:
    """Return the logarithm of the share of each kind over the share of known inputs, [kinds].

    A kind that is easy to separate from known inputs gets a large share, because it costs them little; a kind that
    resembles known inputs gets a small one. Each kind alone costs about the same.

    Args:
        log_ratios: [n, kinds] log likelihood ratios of known inputs.
        loss: average loss of P(known) to all kinds together, over all known inputs but a few outliers.
    """
    samples, kinds = log_ratios.shape
    kept = samples - int(_OUTLIERS * loss * samples)
    odds = np.array([_solve_loss(ratios, loss / kinds, kept) for ratios in log_ratios.T])
    # The losses to the kinds overlap where an input resembles several of them: together they are below the target.
    odds += _solve_loss(logsumexp(log_ratios + odds, axis=1), loss, kept)
    return odds.clip(-_LARGEST_ODDS, _LARGEST_ODDS)


def unknown_log_odds(log_ratios: Values, odds: Values) -> Values:
    """Return the log odds [n] that inputs are unknown.

    Args:
        log_ratios: [n, kinds] log likelihood ratios.
        odds: [kinds] log odds of the kinds.
    """
    total: Values = np.logaddexp.reduce(log_ratios + odds, axis=1)
    return total


def _solve_loss(ratios: Values, loss: float, kept: int) -> float:
    """Return the log odds at which the mean of P(unknown) over the `kept` smallest ratios equals the loss."""
    ratios = np.sort(ratios)[:kept]
    middle = float(logit(loss))
    lowest, highest = middle - ratios[-1], middle - ratios[0]
    if lowest == highest:
        return float(lowest)
    return float(brentq(lambda odds: expit(ratios + odds).mean() - loss, lowest - 1e-6, highest + 1e-6))
