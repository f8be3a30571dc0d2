"""Statistics of repeated runs: means with standard errors, paired differences, and two-sample tests."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.samples import finite_sample

# Up to this number of pairs, the exact distribution takes milliseconds; beyond it, the asymptotic one is accurate.
_EXACT_PAIRS = 100_000


@dataclass(frozen=True)
class MeanSem:
    """The mean of n runs and its standard error (the paper's "standard deviation of the mean"), in the values' unit."""

    mean: float
    sem: float
    n: int


@dataclass(frozen=True)
class PairedDifference:
    """The mean of n paired differences and its confidence interval from `low` to `high`, in the values' unit."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class TwoSample:
    """The Kolmogorov-Smirnov statistic in [0, 1] of two samples and its two-sided p value."""

    statistic: float
    p_value: float


def mean_sem(values: ArrayLike) -> MeanSem:
    """Return the mean of `values` [n] and its standard error, which is NaN for n = 1.

    The standard error is s / sqrt(n), with the sample standard deviation s (denominator n - 1).

    Raises:
        InputError: if the values are empty, not one-dimensional or not finite.
    """
    sample = finite_sample(values, "values")
    sem = float(np.std(sample, ddof=1)) / math.sqrt(sample.size) if sample.size > 1 else math.nan
    return MeanSem(float(np.mean(sample)), sem, sample.size)


def paired_difference(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> PairedDifference:
    """Return the mean of `a` - `b`, both [n], with Student's t interval, whose bounds are NaN for n = 1.

    If runs share their data, their results are correlated, and the paired interval is narrower than separate ones.

    Raises:
        InputError: if a sample is empty, not one-dimensional or not finite, their lengths differ, or `confidence` is
            not strictly between 0 and 1.
    """
    first, second = finite_sample(a, "a"), finite_sample(b, "b")
    if first.size != second.size:
        raise InputError(f"a, b: expected samples of the same length, got {first.size} and {second.size}")
    if not 0 < confidence < 1:
        raise InputError(f"confidence: expected a probability strictly between 0 and 1, got {confidence!r}")
    difference = mean_sem(first - second)
    if difference.n == 1:
        return PairedDifference(difference.mean, math.nan, math.nan, 1)
    half = float(stats.t.ppf((1 + confidence) / 2, difference.n - 1)) * difference.sem
    return PairedDifference(difference.mean, difference.mean - half, difference.mean + half, difference.n)


def two_sample(a: ArrayLike, b: ArrayLike) -> TwoSample:
    """Return the Kolmogorov-Smirnov test that `a` [N] and `b` [M] have the same distribution.

    The p value is exact for small samples and asymptotic for large ones; it is 0 if it is too small for a float.

    Raises:
        InputError: if a sample is empty, not one-dimensional or not finite.
    """
    first, second = finite_sample(a, "a"), finite_sample(b, "b")
    method = "exact" if first.size * second.size <= _EXACT_PAIRS else "asymp"
    result = stats.ks_2samp(first, second, method=method)
    return TwoSample(float(result.statistic), float(result.pvalue))
