"""What repeated runs say: means with their standard error, paired differences, and whether two samples differ."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.samples import finite_sample

# Up to so many pairs the exact distribution takes milliseconds; beyond, the asymptotic one is accurate.
_EXACT_PAIRS = 100_000


@dataclass(frozen=True)
class MeanSem:
    """A mean over n runs and its standard error (the paper's "standard deviation of the mean"), in the values' unit."""

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
    """Return mean and standard error s / sqrt(n), s with n - 1 in the denominator, of `values` [n]; NaN for n = 1.

    Raises InputError if the values are none, not one-dimensional or not finite.
    """
    sample = finite_sample(values, "values")
    sem = float(np.std(sample, ddof=1)) / math.sqrt(sample.size) if sample.size > 1 else math.nan
    return MeanSem(float(np.mean(sample)), sem, sample.size)


def paired_difference(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> PairedDifference:
    """Return the mean of a - b over the runs, `a` and `b` both [n], with Student's t interval; NaN bounds for n = 1.

    Runs that share their data differ together, so the paired interval is sharper than two separate ones.

    Raises InputError if a sample is empty, not one-dimensional or not finite, the two differ in length, or
    `confidence` is not strictly between 0 and 1.
    """
    first, second = finite_sample(a, "a"), finite_sample(b, "b")
    if first.size != second.size:
        raise InputError(f"a, b: expected one value of each for every run, got {first.size} and {second.size}")
    if not 0 < confidence < 1:
        raise InputError(f"confidence: expected a probability strictly between 0 and 1, got {confidence!r}")
    difference = mean_sem(first - second)
    if difference.n == 1:
        return PairedDifference(difference.mean, math.nan, math.nan, 1)
    half = float(stats.t.ppf((1 + confidence) / 2, difference.n - 1)) * difference.sem
    return PairedDifference(difference.mean, difference.mean - half, difference.mean + half, difference.n)


def two_sample(a: ArrayLike, b: ArrayLike) -> TwoSample:
    """Test with Kolmogorov-Smirnov whether `a` [N] and `b` [M] come from one distribution.

    The p value is exact for small samples, asymptotic for large ones, and 0 where it is too small for a float.

    Raises InputError if a sample is empty, not one-dimensional or not finite.
    """
    first, second = finite_sample(a, "a"), finite_sample(b, "b")
    method = "exact" if first.size * second.size <= _EXACT_PAIRS else "asymp"
    result = stats.ks_2samp(first, second, method=method)
    return TwoSample(float(result.statistic), float(result.pvalue))
