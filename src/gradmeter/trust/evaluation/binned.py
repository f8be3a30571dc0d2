"""Measures of scores of which there are too many to sort: those of pixels, from histograms of groups of images.

Up to `BINS` distinct scores are counted exactly. Of more, neighbours are merged: a bin of several scores holds less
than 8 / `BINS` of the samples inside and of those outside. Merging happens twice, in each group and over all groups, so
every point of the ROC curve moves by less than 16 / `BINS` along either axis, whatever the distribution, and the AUROC
by less than 32 / `BINS` = 0.004. In practice errors cancel: the tests find less than 3e-4 for all measures, for values
within 1e-6, clusters, infinities, and one positive in 2,000 samples.

Histograms of groups can be added, and weighted to resample whole groups (Efron 1979, of clusters).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.samples import finite_sample

AUROC, AUPR, FPR95 = "auroc", "aupr", "fpr95"
"""Area under the ROC curve; average precision; false positive rate at a true positive rate of 95 %. In all three the
samples outside (wrong, or unknown) are positive, and a higher score means outside."""
SEPARATION = (AUROC, AUPR, FPR95)
BINS = 8192
"""Most distinct scores that are counted apart, roughly."""
_LARGEST = float(np.finfo(np.float64).max)
_TPR = 0.95
# Rows of weights at a time, so that their sums stay in the cache.
_ROWS = 64

Counts = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Histograms:
    """How many samples of each group have a score in each bin, by increasing score.

    Attributes:
        inside: [groups, bins] samples inside (right, or known).
        outside: [groups, bins] samples outside (wrong, or unknown).
    """

    inside: NDArray[np.int64]
    outside: NDArray[np.int64]

    def measures(self, weights: ArrayLike | None = None) -> dict[str, Counts]:
        """Return AUROC, AUPR and FPR95 [R].

        Args:
            weights: [R, groups] how often each group counts; by default, each counts once, and R is 1. Measures of a
                row without a sample inside or outside are NaN.
        """
        groups = len(self.inside)
        of_groups = np.ones((1, groups)) if weights is None else np.asarray(weights, np.float64)
        parts = [
            separations(rows @ self.inside, rows @ self.outside)
            for rows in np.split(of_groups, range(_ROWS, len(of_groups), _ROWS))
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in SEPARATION}


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """How many samples have each score.

    Attributes:
        scores: [k] float64, distinct and increasing; where several were merged, the one in their middle.
        inside: [k] samples inside.
        outside: [k] samples outside.
    """

    scores: NDArray[np.float64]
    inside: NDArray[np.int64]
    outside: NDArray[np.int64]

    @classmethod
    def of(cls, scores: ArrayLike, outside: NDArray[np.bool_]) -> Self:
        """Count samples.

        Args:
            scores: [n]; a higher one means outside. Infinite ones count as the largest numbers.
            outside: [n].

        Raises:
            InputError: if there are no scores, or one is NaN, or the shapes differ.
        """
        sample = finite_sample(np.clip(scores, -_LARGEST, _LARGEST), "scores")
        if outside.dtype != np.bool_ or outside.shape != sample.shape:
            raise InputError(
                f"outside: expected a boolean array of shape {sample.shape}, got {outside.dtype} of {outside.shape}"
            )
        distinct, place = np.unique(sample, return_inverse=True)
        counts = np.bincount(place, minlength=len(distinct))
        positives = np.bincount(place[outside], minlength=len(distinct))
        kinds = np.stack([counts - positives, positives])
        starts = np.flatnonzero(np.diff(_merged(kinds, BINS), prepend=-1))
        middles = (starts + np.append(starts[1:], len(distinct)) - 1) // 2
        return cls(distinct[middles], *np.add.reduceat(kinds, starts, axis=1))


class GroupedScores:
    """Counts the scores of groups of samples, one batch at a time."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, ScoreCounts]] = []

    def add(self, group: int, counts: ScoreCounts) -> None:
        """Count more samples of a group, a number from 0."""
        self._parts.append((group, counts))

    def histograms(self, bins: int = BINS) -> Histograms:
        """Return the histograms of groups 0 to the largest one, with at most about `bins` bins.

        If there are more distinct scores, neighbours are merged: a quarter of the bins holds equal shares of the
        samples inside, one of those outside, one of all, and one grows in proportion to the rank from the top.

        Raises:
            InputError: if nothing was counted.
        """
        if not self._parts:
            raise InputError("no scores were counted; expected at least one group")
        scores = np.unique(np.concatenate([counts.scores for _, counts in self._parts]))
        places = [np.searchsorted(scores, counts.scores) for _, counts in self._parts]
        totals = np.zeros((2, len(scores)), np.int64)
        for place, (_, counts) in zip(places, self._parts, strict=True):
            totals[0, place] += counts.inside
            totals[1, place] += counts.outside
        bin_of_score = _merged(totals, bins)
        shape = (max(group for group, _ in self._parts) + 1, int(bin_of_score[-1]) + 1)
        result = Histograms(np.zeros(shape, np.int64), np.zeros(shape, np.int64))
        for place, (group, counts) in zip(places, self._parts, strict=True):
            np.add.at(result.inside[group], bin_of_score[place], counts.inside)
            np.add.at(result.outside[group], bin_of_score[place], counts.outside)
        return result


def _merged(totals: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """Return the bin of each distinct score, from the samples inside and outside that have it, [2, distinct].

    The weights of scores that share a bin sum to less than 2, because their middles differ by less than 1.
    """
    distinct = totals.shape[1]
    if distinct <= bins:
        return np.arange(distinct)
    everything = totals.sum(axis=0)
    # Logarithms of ranks from the highest score on: precision depends on the samples above a threshold.
    above = np.cumsum(everything[::-1])[::-1]
    ranks = np.log1p(above) - np.log1p(above - everything)
    weights = bins / 4 * np.sum([kind / max(kind.sum(), 1) for kind in (*totals, everything, ranks)], axis=0)
    middles = np.cumsum(weights) - weights / 2
    return np.unique(np.floor(middles), return_inverse=True)[1]


def separations(inside: Counts, outside: Counts) -> dict[str, Counts]:
    """Return AUROC, AUPR and FPR95 [R] of histograms [R, bins] by increasing score; ties count as in scikit-learn."""
    negatives, positives = inside.sum(axis=1), outside.sum(axis=1)
    below = np.cumsum(inside, axis=1) - inside / 2
    # From the highest score on.
    alarms, hits = np.cumsum(inside[:, ::-1], axis=1), np.cumsum(outside[:, ::-1], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        auroc = np.einsum("rb,rb->r", outside, below) / (negatives * positives)
        precision = np.nan_to_num(hits / (hits + alarms))
        aupr = np.einsum("rb,rb->r", outside[:, ::-1], precision) / positives
        enough = hits >= _TPR * positives[:, None] * (1 - 1e-12)
        fpr95 = np.take_along_axis(alarms, enough.argmax(axis=1)[:, None], axis=1)[:, 0] / negatives
    defined = (negatives > 0) & (positives > 0)
    return {
        name: np.where(defined, values, np.nan) for name, values in zip(SEPARATION, (auroc, aupr, fpr95), strict=True)
    }
