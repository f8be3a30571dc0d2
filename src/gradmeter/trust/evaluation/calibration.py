"""Whether probabilities mean what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.samples import finite_sample

_BINS = 15


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predicted and observed probability, bin by bin, float64 [B] each; bins without samples are left out.

    Attributes:
        predicted: mean predicted probability.
        observed: share of samples for which it came true.
        weight: share of all samples.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    weight: NDArray[np.float64]


def brier_score(probability: ArrayLike, correct: ArrayLike) -> float:
    """Return the mean squared difference of `probability` [N] and `correct` [N], in [0, 1] (Brier 1950).

    Raises InputError if the probabilities are none, not finite or outside [0, 1], or `correct` is not boolean [N].
    """
    p, y = _checked(probability, correct)
    return float(np.mean((p - y) ** 2))


def negative_log_likelihood(probability: ArrayLike, correct: ArrayLike) -> float:
    """Return the mean of -log of the probability given to what came true, in nats; infinite for a certain error.

    Takes and raises what `brier_score` does.
    """
    p, y = _checked(probability, correct)
    with np.errstate(divide="ignore"):
        return float(-np.mean(np.where(y, np.log(p), np.log1p(-p))))


def reliability(probability: ArrayLike, correct: ArrayLike, bins: int = _BINS) -> Reliability:
    """Compare predicted and observed probabilities in bins of equal width.

    Takes and raises what `brier_score` does, and raises InputError if `bins` < 1.
    """
    if bins < 1:
        raise InputError(f"bins: expected at least 1, got {bins}")
    p, y = _checked(probability, correct)
    # A probability of 1 belongs to the last bin.
    index = np.minimum((p * bins).astype(np.int64), bins - 1)
    counts = np.bincount(index, minlength=bins)
    used = counts > 0
    sums = [np.bincount(index, weights=values, minlength=bins)[used] / counts[used] for values in (p, y)]
    return Reliability(sums[0], sums[1], counts[used] / p.size)


def expected_calibration_error(probability: ArrayLike, correct: ArrayLike, bins: int = _BINS) -> float:
    """Return ECE: `|predicted - observed|` averaged over the samples of equal-width bins (Naeini 2015, Guo 2017).

    Takes and raises what `reliability` does.
    """
    found = reliability(probability, correct, bins)
    return float(found.weight @ np.abs(found.predicted - found.observed))


def _checked(probability: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    p = finite_sample(probability, "probability")
    if p.min() < 0 or p.max() > 1:
        raise InputError(f"probability: expected numbers in [0, 1], got {p.min():g} to {p.max():g}")
    y = np.asarray(correct)
    if y.dtype != np.bool_ or y.shape != p.shape:
        raise InputError(f"correct: expected a boolean array of shape {p.shape}, got {y.dtype} of shape {y.shape}")
    return p, y
