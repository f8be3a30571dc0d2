"""Exact confidence intervals of error rates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta


def exact_interval(errors: ArrayLike, counts: ArrayLike, confidence: float) -> NDArray[np.float64]:
    """Return [2, ...], both ends of exact confidence intervals (Clopper and Pearson 1934) of error rates."""
    errors, counts = np.asarray(errors), np.asarray(counts)
    tail = (1 - confidence) / 2
    return np.stack(
        [
            np.where(errors > 0, beta.ppf(tail, errors, counts - errors + 1), 0.0),
            np.where(errors < counts, beta.ppf(1 - tail, errors + 1, counts - errors), 1.0),
        ]
    )
