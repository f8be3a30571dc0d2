"""An interval for the share of wrong labels."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit
from scipy.stats import chi2

from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.labels.inputs import Values
from gradmeter.trust.labels.noise import NoiseModel, NoiseProblem

_CONFIDENCE = 0.95
# The least and the highest share that an interval tells from none and from all.
_LEAST, _MOST = 1e-6, 1 - 1e-6
# First step of the search for a bound, in log odds; it doubles until the bound is passed, and the bound is then halved
# this often.
_STEP, _HALVINGS = 0.25, 4


def rate_interval(problem: NoiseProblem, fitted: NoiseModel, labels: int) -> Interval:
    """Return the rate of a fitted model with a 95 % interval by the profile likelihood.

    All shares are in the interval for which other values of the remaining parameters explain the labels nearly as well,
    so that it is wide where the share is not identified.

    Args:
        problem: what the model was fitted to.
        fitted: the model.
        labels: number of all labels, of which the problem has a part.
    """
    limit = fitted.loss + chi2.ppf(_CONFIDENCE, 1) / 2
    low = _bound(problem, fitted, limit, -1) if fitted.rate > _LEAST else 0.0
    high = _bound(problem, fitted, limit, 1)
    # The exact binomial bound if no label of n is wrong.
    least_high = 1 - ((1 - _CONFIDENCE) / 2) ** (1 / labels)
    return Interval(fitted.rate, low if low > _LEAST else 0.0, min(max(high, least_high, fitted.rate), 1.0))


def _bound(problem: NoiseProblem, fitted: NoiseModel, limit: float, sign: int) -> float:
    """Return the share of wrong labels, below or above the fitted one, where the profile passes the limit."""
    end = float(logit(_LEAST if sign < 0 else _MOST))
    inside = float(np.clip(logit(fitted.rate), logit(_LEAST), logit(_MOST)))
    parameters, step = problem.parameters(fitted), _STEP
    while True:
        outside = inside + sign * step
        if sign * (outside - end) >= 0:
            outside = end
        loss, best = _profile(problem, parameters, outside)
        if loss > limit:
            break
        if outside == end:
            return float(sign > 0)
        inside, parameters, step = outside, best, 2 * step
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        loss, best = _profile(problem, parameters, middle)
        if loss > limit:
            outside = middle
        else:
            inside, parameters = middle, best
    return float(expit((inside + outside) / 2))


def _profile(problem: NoiseProblem, start: Values, log_odds: float) -> tuple[float, Values]:
    """Return the least loss with a share of wrong labels, and its parameters."""
    point = start.copy()
    point[problem.RATE] = log_odds
    model = problem.fitted(point, fixed=(problem.RATE,))
    return model.loss, problem.parameters(model)
