"""What each threshold on a score accepts, in groups of samples; the data of a slider on the threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError

_LIMIT = 1000


@dataclass(frozen=True, eq=False)
class OperatingPoints:
    """Thresholds, and the samples that each of them accepts: those whose score is at least the threshold.

    Attributes:
        thresholds: [T] increasing.
        samples: number of samples by group.
        accepted: number of accepted samples [T] by group.
        marked: index of the given threshold.
        passed: [N] number of thresholds that accept each sample: the first `passed` ones.
    """

    thresholds: NDArray[np.float64]
    samples: dict[str, int]
    accepted: dict[str, NDArray[np.int64]]
    marked: int
    passed: NDArray[np.int64]


def operating_points(
    score: ArrayLike, groups: Mapping[str, NDArray[np.bool_]], threshold: float, *, limit: int = _LIMIT
) -> OperatingPoints:
    """Return the samples that each threshold accepts.

    The thresholds are 0, the given one, and quantiles of the scores, so that neighbouring ones accept about equally
    many samples more.

    Args:
        score: [N]; at least 0, or negative for samples that no threshold accepts.
        groups: the members of each group, [N] bool.
        threshold: a threshold in [0, 1] that is one of the points.
        limit: largest number of quantiles.

    Raises:
        InputError: if a score is above 1 or not a number, or there are none.
    """
    scores = np.asarray(score, np.float64)
    if scores.ndim != 1 or not scores.size or not (scores <= 1).all():
        raise InputError(f"score has shape {scores.shape}; expected [N] numbers up to 1, at least one")
    levels = np.unique(scores[scores >= 0])
    if len(levels) > limit:
        # "lower" gives existing scores, so that a threshold lies on a step of the counts.
        quantiles = np.quantile(scores[scores >= 0], np.linspace(0, 1, limit), method="lower")
        levels = np.unique(quantiles)
    thresholds = np.unique(np.concatenate([[0.0, threshold], levels]))
    passed = np.searchsorted(thresholds, scores, side="right")
    accepted = {}
    for name, members in groups.items():
        counts = np.bincount(passed[members], minlength=len(thresholds) + 1)
        accepted[name] = np.cumsum(counts[::-1])[::-1][1:]
    samples = {name: int(members.sum()) for name, members in groups.items()}
    return OperatingPoints(thresholds, samples, accepted, int(np.searchsorted(thresholds, threshold)), passed)
