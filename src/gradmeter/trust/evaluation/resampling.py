"""Bootstrap confidence intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from gradmeter.errors import InputError
from gradmeter.trust.folds import numbered

REPETITIONS = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A statistic and its confidence interval from `low` to `high`, in the statistic's unit."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval does not hold zero; false for one of NaN."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, eq=False)
class Units:
    """N samples in units that are drawn as a whole: the copies of an input are one, because they add no evidence.

    Attributes:
        order: [N] rows of the samples, unit after unit.
        starts: [units] where each begins in `order`.
        sizes: [units] number of samples of each.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, contents: NDArray[np.uint64]) -> Self:
        """Return the units of samples with contents [N], equal for equal inputs."""
        numbers = numbered(contents)
        sizes = np.bincount(numbers)
        return cls(np.argsort(numbers, kind="stable"), np.cumsum(sizes) - sizes, sizes)

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.sizes)

    def rows(self, drawn: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of the samples of some units, which may repeat."""
        if len(self) == len(self.order):  # no copies: resampling is slow enough
            return self.order[drawn]
        sizes = self.sizes[drawn]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows: NDArray[np.int64] = self.order[np.repeat(self.starts[drawn], sizes) + within]
        return rows


def percentile_interval(
    value: float, draws: NDArray[np.float64], count: int, confidence: float = CONFIDENCE
) -> Interval:
    """Return a statistic with the expanded percentile interval of its resampled values (Hesterberg 2015).

    Percentile intervals of few samples are too narrow: resampled values spread less than the statistic does, by
    sqrt((count - 1) / count), and have the tails of the normal distribution instead of Student's. The percentiles are
    therefore farther out, so far that the interval of a mean of `count` samples is about Student's. Of fewer than about
    five samples it is still too narrow, because it ends at the smallest and largest resampled value. One sample has no
    interval: both ends are NaN.

    Args:
        value: the statistic.
        draws: its resampled values; those that are NaN, because the resample lacks samples of one kind, are left out.
        count: number of samples that were resampled; of several groups, that of the smallest.
        confidence: of the interval.
    """
    defined = draws[~np.isnan(draws)]
    if count < 2 or not len(defined):
        return Interval(value, np.nan, np.nan)
    tail = stats.norm.cdf(np.sqrt(count / (count - 1)) * stats.t.ppf((1 - confidence) / 2, count - 1))
    low, high = np.quantile(defined, (tail, 1 - tail))
    return Interval(value, float(low), float(high))


def basic_interval(value: float, draws: NDArray[np.float64], count: int, confidence: float = CONFIDENCE) -> Interval:
    """Return a statistic with the basic interval of its resampled values: `percentile_interval`, mirrored at the value.

    It is for statistics with a bias, such as the calibration error, which is too high for few samples: the resampled
    values have it about twice, the mirrored ones hardly any. The interval contains the value.

    Args:
        value, draws, count, confidence: as for `percentile_interval`.
    """
    percentiles = percentile_interval(value, draws, count, confidence)
    return Interval(value, min(2 * value - percentiles.high, value), max(2 * value - percentiles.low, value))


def bootstrap(
    statistic: Callable[..., float],
    *groups: ArrayLike,
    confidence: float = CONFIDENCE,
    repetitions: int = REPETITIONS,
    seed: int = 0,
    contents: Sequence[NDArray[np.uint64]] | None = None,
) -> Interval:
    """Return a statistic of several groups of samples with its bootstrap interval, as `percentile_interval` does.

    Each group is resampled separately and keeps its size. For paired differences, put all values of a sample, such as
    the scores of two methods, into one row of its group.

    Args:
        statistic: maps the groups, original or resampled along the first axis, to a number.
        groups: arrays [N, ...]; N may differ between them.
        confidence: of the interval.
        repetitions: number of resamples.
        seed: of the resampling.
        contents: for each group equal numbers for equal samples [N], whose copies are drawn together; None if all
            differ.

    Raises:
        InputError: if a group has fewer than two different samples, or `confidence` is not strictly between 0 and 1.
    """
    arrays: list[NDArray[Any]] = [np.asarray(group) for group in groups]
    units = [Units.of(numbers) for numbers in contents or [np.arange(len(array), dtype=np.uint64) for array in arrays]]
    if not units or min(map(len, units)) < 2:
        raise InputError(f"groups: expected at least 2 different samples in each, got {[*map(len, units)]}")
    if not 0 < confidence < 1:
        raise InputError(f"confidence: expected a probability strictly between 0 and 1, got {confidence!r}")

    def of_units(*drawn: NDArray[np.int64]) -> float:
        return statistic(
            *(array[of.rows(units_drawn)] for array, of, units_drawn in zip(arrays, units, drawn, strict=True))
        )

    resampled = stats.bootstrap(
        [np.arange(len(of)) for of in units],
        of_units,
        vectorized=False,
        n_resamples=repetitions,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).bootstrap_distribution
    return percentile_interval(float(statistic(*arrays)), resampled, min(map(len, units)), confidence)
