"""An interval for the share of wrong labels."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit
from scipy.stats import chi2, norm

from gradmeter.stages import stage
from gradmeter.trust.evaluation.binomial import exact_interval
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.labels.inputs import Values
from gradmeter.trust.labels.noise import NoiseModel, NoiseProblem

_CONFIDENCE = 0.95
# The least and the highest share that an interval tells from none and from all.
_LEAST, _MOST = 1e-6, 1 - 1e-6
# First step of the search for a bound, in log odds; it doubles until the bound is passed, and the bound is then halved
# until it is known this well.
_STEP, _PRECISION = 0.25, 0.03
# An interval that is wider says nothing.
_OPEN = 0.5
# Weight of each curve of the calibration where the search starts.
_BENT = 0.01


@stage("estimating the share of wrong labels")
def rate_interval(problem: NoiseProblem, fitted: NoiseModel, labels: float) -> Interval:
    """Return the rate of a fitted model with a 95 % interval by the profile likelihood.

    All shares are in the interval for which other values of the remaining parameters explain the labels nearly as well,
    so that it is wide where the share is not identified. In the interval, unlike in the rate, the calibration may be
    bent and its temperature is nearly free: where all confidences are alike, for example, nothing tells a wrong label
    from a wrong prediction. If classes have no label, the lower bound is that for a network which is wrong wherever it
    predicts one of them.

    Args:
        problem: what the model was fitted to, with one expert.
        fitted: the model.
        labels: number of all labels, of which the problem has a part; without copies of inputs.
    """
    curved, point = problem.with_curves(), problem.parameters(fitted)
    start = np.concatenate([point[:1], [_BENT, _BENT], point[1:]])
    low, high = _bounds(curved, start, ())
    if problem.has_foreign:
        start[problem.FOREIGN] = logit(_LEAST)
        low = min(low, _bounds(curved, start, (problem.FOREIGN,))[0])
    _, least_high = exact_interval(0, labels, _CONFIDENCE)
    return Interval(fitted.rate, min(low, fitted.rate), min(max(high, float(least_high), fitted.rate), 1.0))


def is_told(rate: Interval) -> bool:
    """Return whether the interval of an estimate is so narrow that it says something."""
    return rate.high - rate.low <= _OPEN


def raised_by(rate: Interval, low: float, confidently: float, contradicted: float, labels: float) -> Interval:
    """Return an estimate of the share of wrong labels, raised to the geometric mean with another one if that is larger.

    Args:
        rate: an estimate, too low rather than too high, with its interval.
        low: lower bound by another model; the interval begins at the lower one of both.
        confidently: another one, the share of the labels that confident learning contradicts.
        contradicted: share of the labels that are not predicted. All wrong labels are among them but for those that are
            predicted because they were learned.
        labels: number of labels, without copies of inputs.

    Returns:
        The estimate with an interval that reaches at least to the share that is contradicted.
    """
    deviation = norm.ppf((1 + _CONFIDENCE) / 2) * np.sqrt(contradicted * (1 - contradicted) / labels)
    high = min(max(rate.high, contradicted + deviation), 1.0)
    return Interval(float(np.sqrt(rate.value * max(confidently, rate.value))), min(low, rate.low), high)


def _bounds(problem: NoiseProblem, start: Values, fixed: tuple[int, ...]) -> tuple[float, float]:
    """Return the shares of wrong labels, below and above the likeliest one, where the profile passes the limit."""
    model = problem.fitted(start, fixed)
    limit = model.loss + chi2.ppf(_CONFIDENCE, 1) / 2
    low = _bound(problem, model, limit, -1, fixed) if model.rate > _LEAST else 0.0
    return low if low > _LEAST else 0.0, _bound(problem, model, limit, 1, fixed)


def _bound(problem: NoiseProblem, fitted: NoiseModel, limit: float, sign: int, fixed: tuple[int, ...]) -> float:
    """Return the share of wrong labels, below or above the fitted one, where the profile passes a limit."""
    end = float(logit(_LEAST if sign < 0 else _MOST))
    inside = float(np.clip(logit(fitted.rate), logit(_LEAST), logit(_MOST)))
    parameters, step = problem.parameters(fitted), _STEP
    while True:
        outside = inside + sign * step
        if sign * (outside - end) >= 0:
            outside = end
        loss, best = _profile(problem, parameters, outside, fixed)
        if loss > limit:
            break
        if outside == end:
            return float(sign > 0)
        inside, parameters, step = outside, best, 2 * step
    while abs(outside - inside) > _PRECISION:
        middle = (inside + outside) / 2
        loss, best = _profile(problem, parameters, middle, fixed)
        if loss > limit:
            outside = middle
        else:
            inside, parameters = middle, best
    return float(expit((inside + outside) / 2))


def _profile(problem: NoiseProblem, start: Values, log_odds: float, fixed: tuple[int, ...]) -> tuple[float, Values]:
    """Return the least loss with a share of wrong labels, and its parameters."""
    point = start.copy()
    point[problem.RATE] = log_odds
    model = problem.fitted(point, (problem.RATE, *fixed))
    return model.loss, problem.parameters(model)
