"""An interval for the share of wrong labels."""

from __future__ import annotations

import numpy as np

from gradmeter.stages import stage
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.labels.inputs import Labels, Values
from gradmeter.trust.labels.mixture import Mixture, fit_mixture

# Each resample is fitted again, so there are few, of at most so many rows.
_RESAMPLES, _MOST_ROWS = 40, 5_000
_LEVELS = (0.025, 0.975)


def rate_interval(given: Values, corrupted: Values, kinds: Labels, fitted: Mixture, rising: int) -> Interval:
    """Return the rate of a fitted mixture with a 95 % bootstrap interval.

    Both samples are resampled and the mixture is fitted again. With more than 5,000 given labels a part is resampled,
    and the deviations are scaled to the full number.

    Args:
        given: [n, d] evidence against the given labels.
        corrupted: [m, d] evidence against corrupted ones.
        kinds: [m] their kinds.
        fitted: the mixture fitted to all.
        rising: see `fit_mixture`.
    """
    random = np.random.default_rng(0)
    rows = np.arange(len(given))
    if len(rows) > _MOST_ROWS:
        rows = random.choice(rows, _MOST_ROWS, replace=False)
    part, scale = given[rows], np.sqrt(len(rows) / len(given))
    rates = []
    with stage("estimating the share of wrong labels", _RESAMPLES) as advance:
        for _ in range(_RESAMPLES):
            weights = _counts(len(part), random), _counts(len(kinds), random)
            mixture = fit_mixture(part, corrupted, kinds, rising=rising, weights=weights, start=fitted)
            rates.append(mixture.rate)
            advance(1)
    deviations = scale * (np.quantile(rates, _LEVELS) - np.median(rates))
    low, high = np.clip(fitted.rate + deviations, 0.0, 1.0)
    return Interval(fitted.rate, float(low), float(high))


def _counts(n: int, random: np.random.Generator) -> Values:
    """Return how often each of n rows is drawn in n draws."""
    counts: Values = random.multinomial(n, np.full(n, 1 / n)).astype(np.float64)
    return counts
