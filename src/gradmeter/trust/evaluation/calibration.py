"""Calibration measures of probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.samples import finite_sample

_BINS = 15


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predicted and observed probabilities in the bins that have samples.

    Attributes:
        predicted: [B] mean predicted probability.
        observed: [B] share of correct samples.
        weight: [B] share of all samples.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    weight: NDArray[np.float64]


def brier_score(probability: ArrayLike, correct: ArrayLike) -> float:
    """Return the mean squared difference of `probability` [N] and `correct` [N], in [0, 1] (Brier 1950).

    Raises:
        InputError: if there are no probabilities, one is not in [0, 1], or `correct` is not boolean [N].
    """
    p, y = _checked(probability, correct)
    return float(np.mean((p - y) ** 2))


def negative_log_likelihood(probability: ArrayLike, correct: ArrayLike) -> float:
    """Return the mean negative log probability of the outcome, in nats; infinite if an error had probability 0.

    Arguments and errors are those of `brier_score`.
    """
    p, y = _checked(probability, correct)
    with np.errstate(divide="ignore"):
        return float(-np.mean(np.where(y, np.log(p), np.log1p(-p))))


def reliability(probability: ArrayLike, correct: ArrayLike, bins: int = _BINS) -> Reliability:
    """Return predicted and observed probabilities in bins of equal width.

    Arguments and errors are those of `brier_score`.

    Raises:
        InputError: also if `bins` is less than 1.
    """
    if bins < 1:
        raise InputError(f"bins: expected at least 1, got {bins}")
    p, y = _checked(probability, correct)
    # The last bin includes the probability 1.
    index = np.minimum((p * bins).astype(np.int64), bins - 1)
    counts = np.bincount(index, minlength=bins)
    used = counts > 0
    sums = [np.bincount(index, weights=values, minlength=bins)[used] / counts[used] for values in (p, y)]
    return Reliability(sums[0], sums[1], counts[used] / p.size)


def expected_calibration_error(probability: ArrayLike, correct: ArrayLike, bins: int = _BINS) -> float:
    """Return ECE: the mean of `|predicted - observed|` over bins of equal width (Naeini et al. 2015, Guo et al. 2017).

    Each bin is weighted by its number of samples. Arguments and errors are those of `reliability`.
    """
    diagram = reliability(probability, correct, bins)
    return float(diagram.weight @ np.abs(diagram.predicted - diagram.observed))


def _checked(probability: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    p = finite_sample(probability, "probability")
    if p.min() < 0 or p.max() > 1:
        raise InputError(f"probability: expected numbers in [0, 1], got {p.min():g} to {p.max():g}")
    y = np.asarray(correct)
    if y.dtype != np.bool_ or y.shape != p.shape:
        raise InputError(f"correct: expected a boolean array of shape {p.shape}, got {y.dtype} of shape {y.shape}")
    return p, y
