"""Bootstrap intervals of statistics of one evaluation set."""

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
    """Return a statistic of several groups of samples with its percentile interval (Efron 1979).

    Every group is resampled by itself, so that as many inside and outside samples are drawn as there are. What belongs
    to one sample (the scores of two methods, say) is one row of its group: differences are then paired.

    Args:
        statistic: maps the groups, as given or resampled along their first axis, to a number.
        groups: arrays [N, ...], each with its own N.
        confidence: of the interval.
        repetitions: resamples.
        seed: of the resampling.

    Raises:
        InputError: if a group has fewer than two samples, or `confidence` is not strictly between 0 and 1.
    """
    arrays: list[NDArray[Any]] = [np.asarray(group) for group in groups]
    if not arrays or min(len(array) for array in arrays) < 2:
        raise InputError(f"groups of {[len(array) for array in arrays]} samples; expected at least 2 in each")
    if not 0 < confidence < 1:
        raise InputError(f"confidence: expected a probability strictly between 0 and 1, got {confidence!r}")

    def of_indices(*indices: NDArray[np.int64]) -> float:
        return statistic(*(array[index] for array, index in zip(arrays, indices, strict=True)))

    found = stats.bootstrap(
        [np.arange(len(array)) for array in arrays],
        of_indices,
        vectorized=False,
        n_resamples=repetitions,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(statistic(*arrays)), float(found.low), float(found.high))
