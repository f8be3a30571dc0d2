"""An interval for the share of wrong labels."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import norm

from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.labels.inputs import Labels, Values
from gradmeter.trust.labels.mixture import Mixture, Problem

_CONFIDENCE = 0.95
# Step of the numerical second derivatives, relative to the size of a parameter.
_STEP = 1e-4
# Directions in which the likelihood is flatter than this, relative to the steepest one, are not estimated.
_FLAT = 1e-9


def rate_interval(given: Values, corrupted: Values, kinds: Labels, fitted: Mixture, rising: int) -> Interval:
    """Return the rate of a fitted mixture with a 95 % interval.

    The variance of the parameters is the sandwich estimate of the maximum of a penalised likelihood (Huber 1967), with
    the given and the corrupted labels as separate samples; the interval of the rate follows by the delta method.

    Args:
        given: [n, d] evidence against the given labels.
        corrupted: [m, d] evidence against corrupted ones.
        kinds: [m] their kinds.
        fitted: the mixture fitted to all.
        rising: see `fit_mixture`.
    """
    problem = Problem.of(given, corrupted, kinds, rising)
    parameters = problem.parameters(fitted)
    # A weight on its bound stays there.
    low = np.array([-np.inf if bound[0] is None else bound[0] for bound in problem.bounds])
    free = np.flatnonzero(parameters > low)
    inverse = np.linalg.pinv(_second_derivatives(problem, parameters, free), rcond=_FLAT, hermitian=True)
    scores = problem.scores(parameters)[:, free]
    spread = sum(_scatter(scores[problem.source == source]) for source in range(len(problem.totals)))
    slopes = np.zeros(len(parameters))
    slopes[-len(fitted.shares) :] = fitted.shares[0] * (fitted.shares - np.eye(len(fitted.shares))[0])
    direction = inverse @ slopes[free]
    deviation = math.sqrt(max(float(direction @ spread @ direction), 0.0))
    reach = float(norm.ppf((1 + _CONFIDENCE) / 2)) * deviation
    # The exact binomial bound if no label of n is wrong.
    least_high = 1 - ((1 - _CONFIDENCE) / 2) ** (1 / len(given))
    least = fitted.rate - reach if fitted.rate * len(given) >= 0.5 else 0.0
    return Interval(fitted.rate, max(least, 0.0), min(max(fitted.rate + reach, least_high), 1.0))


def _second_derivatives(problem: Problem, parameters: Values, free: Labels) -> Values:
    """Return the second derivatives of the penalised likelihood by central differences of its gradient."""
    columns = []
    for index in free:
        step = np.zeros(len(parameters))
        step[index] = _STEP * max(1.0, abs(parameters[index]))
        ahead, behind = (problem(parameters + sign * step)[1][free] for sign in (1, -1))
        columns.append(len(problem.source) * (ahead - behind) / (2 * step[index]))
    matrix = np.stack(columns)
    return np.asarray((matrix + matrix.T) / 2)


def _scatter(scores: Values) -> Values:
    """Return the sum of squares and products [p, p] of the scores [n, p] around their mean."""
    centred = scores - scores.mean(axis=0)
    return np.asarray(centred.T @ centred)
