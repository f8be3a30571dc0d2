"""In which shares kinds of unknown inputs are to be expected: by what known inputs pay for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit, logsumexp
from sklearn.model_selection import StratifiedKFold

from gradmeter.evaluation.curves import area_of_curve, risk_coverage
from gradmeter.evaluation.separation import separation
from gradmeter.meta.known_head import ERRORS

Values = NDArray[np.float64]

LARGEST_SHARE = 0.1
"""Of all kinds together."""

# What known inputs may lose of P(known) to each kind, on average: these are tried, the largest first.
_LOSSES = (0.01, 0.005, 0.003, 0.002, 0.001)
# The loss where none of them will do is this part of the rate of wrong predictions, and at most so much: what is lost
# to a dozen kinds ranks right predictions among the wrong ones, and has to be little beside these.
_OF_ERRORS, _MOST = 0.02, 0.001
# Known inputs that may be lost altogether to each kind, in units of that loss: a single one that is like a kind would
# keep it from being expected at all.
_ODD = 2.5
# Of what the known head gains over the softmax among known inputs, this much must stay.
_KEPT = 0.75
# Parts of the known inputs that tell how uncertain a gain is.
_PARTS = 10
_LEAST = 5 * _PARTS


def chosen_log_odds(p_wrong: Values, log_ratios: Values, log_scale: Values, wrong: NDArray[np.bool_]) -> Values:
    """[kinds] logarithms of the share of a kind over the share of known inputs, by a rule on known inputs alone.

    Known inputs lose the same part of P(known) to every kind (`kind_log_odds`). That part is the largest of 0.1 to 1 %
    at which the ranking keeps three quarters of what P(wrong) gains over the softmax, by AUROC, AUPR-Out and AURC, and
    gains more over the softmax than two standard errors of that gain. Where none does, or fewer than 50 predictions
    are wrong, or right, it is a fiftieth of the rate of wrong predictions, and at most 0.1 %.

    Args:
        p_wrong: [n] P(wrong | known), held out.
        log_ratios: [n, kinds] log likelihood ratios, held out.
        log_scale: [n] log(1 - p) of the predicted class.
        wrong: [n] whether the prediction was wrong.
    """
    # Half a wrong prediction more, for where there are none.
    least = min(_OF_ERRORS * (np.count_nonzero(wrong) + 0.5) / (len(wrong) + 1), _MOST)
    odd = _ODD * least
    cautious = kind_log_odds(log_ratios, least, odd=odd)
    if min(np.count_nonzero(wrong), np.count_nonzero(~wrong)) < _LEAST:
        return cautious
    parts = [part for _, part in StratifiedKFold(_PARTS, shuffle=True, random_state=0).split(wrong, wrong)]
    before = np.stack([_quality(log_scale[part], wrong[part]) for part in parts])
    softmax, head = _quality(log_scale, wrong), _quality(p_wrong, wrong)
    wanted = softmax + _KEPT * (head - softmax).clip(0)
    for loss in _LOSSES:
        odds = kind_log_odds(log_ratios, loss, odd=odd)
        doubt = -(1 - p_wrong) * p_known(log_ratios, odds)
        gains = np.stack([_quality(doubt[part], wrong[part]) for part in parts]) - before
        error = gains.std(axis=0, ddof=1) / np.sqrt(_PARTS)
        if (_quality(doubt, wrong) >= wanted).all() and (gains.mean(axis=0) >= ERRORS * error).all():
            return odds
    return cautious


def kind_log_odds(log_ratios: Values, loss: float, largest_share: float = LARGEST_SHARE, *, odd: float) -> Values:
    """[kinds] logarithms of the share of a kind over the share of known inputs, at which each kind costs the same.

    What can be told from known inputs may be expected often: they lose nothing by it. What cannot may not.

    Args:
        log_ratios: [n, kinds] log likelihood ratios, of known inputs.
        loss: what is lost to each kind of the known inputs' P(known), on average.
        largest_share: of all kinds together; where `loss` would lead beyond, the commonest kinds are cut to the same.
        odd: part of the known inputs that are passed over, those most like the kind.
    """
    kept = len(log_ratios) - int(odd * len(log_ratios))
    odds = np.array([_at_loss(ratios, loss) for ratios in np.sort(log_ratios, axis=0)[:kept].T])
    most = float(logit(largest_share))
    if logsumexp(odds) <= most:
        return odds

    def excess(level: float) -> float:
        return float(logsumexp(odds.clip(max=level))) - most

    cut: Values = odds.clip(max=brentq(excess, most - np.log(len(odds)) - 1e-6, odds.max()))
    return cut


def p_known(log_ratios: Values, odds: Values) -> Values:
    """[n] from log likelihood ratios [n, kinds] and log odds of the kinds."""
    found: Values = expit(-logsumexp(log_ratios + odds, axis=1))
    return found


def _at_loss(ratios: Values, loss: float) -> float:
    """Log odds at which the mean of P(unknown) is the loss."""
    middle = float(logit(loss))
    lowest, highest = middle - ratios.max(), middle - ratios.min()
    if lowest == highest:
        return float(lowest)
    return float(brentq(lambda odds: expit(ratios + odds).mean() - loss, lowest - 1e-6, highest + 1e-6))


def _quality(doubt: Values, wrong: NDArray[np.bool_]) -> Values:
    """Of a ranking: AUROC, AUPR-Out, and minus AURC."""
    found = separation(doubt[~wrong], doubt[wrong])
    return np.array([found.auroc, found.aupr_out, -area_of_curve(risk_coverage(doubt, wrong))])
