"""Bootstrap confidence intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from gradmeter.errors import InputError

REPETITIONS = 1000


@dataclass(frozen=True)
class Interval:
    """A statistic and its confidence interval from `low` to `high`, in the statistic's unit."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[..., float],
    *groups: ArrayLike,
    confidence: float = 0.95,
    repetitions: int = REPETITIONS,
    seed: int = 0,
) -> Interval:
    """Return a statistic of several groups of samples with its bootstrap percentile interval (Efron 1979).

    Each group is resampled separately and keeps its size. For paired differences, put all values of a sample, such as
    the scores of two methods, into one row of its group.

    Args:
        statistic: maps the groups, original or resampled along the first axis, to a number.
        groups: arrays [N, ...]; N may differ between them.
        confidence: of the interval.
        repetitions: number of resamples.
        seed: of the resampling.

    Raises:
        InputError: if a group has fewer than two samples, or `confidence` is not strictly between 0 and 1.
    """
    arrays: list[NDArray[Any]] = [np.asarray(group) for group in groups]
    if not arrays or min(len(array) for array in arrays) < 2:
        raise InputError(f"groups: expected at least 2 samples in each, got {[len(array) for array in arrays]}")
    if not 0 < confidence < 1:
        raise InputError(f"confidence: expected a probability strictly between 0 and 1, got {confidence!r}")

    def of_rows(*rows: NDArray[np.int64]) -> float:
        return statistic(*(array[indices] for array, indices in zip(arrays, rows, strict=True)))

    interval = stats.bootstrap(
        [np.arange(len(array)) for array in arrays],
        of_rows,
        vectorized=False,
        n_resamples=repetitions,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(statistic(*arrays)), float(interval.low), float(interval.high))
