"""Numbers of accepted samples for all thresholds on an uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class AcceptedCounts:
    """Numbers of accepted samples, for thresholds that rise past each of T distinct scores.

    Equal scores are accepted together. Both arrays start at 0 and end at the sample size.

    Attributes:
        inside: [T + 1] accepted samples inside.
        outside: [T + 1] accepted samples outside.
    """

    inside: NDArray[np.int64]
    outside: NDArray[np.int64]

    def rejected(self) -> AcceptedCounts:
        """Return the numbers of rejected samples, for thresholds that fall from the highest score."""
        return AcceptedCounts((self.inside[-1] - self.inside)[::-1], (self.outside[-1] - self.outside)[::-1])


def accepted_counts(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> AcceptedCounts:
    """Count the accepted samples for all thresholds on finite scores `inside` [N] and `outside` [M]."""
    scores = np.concatenate([inside, outside])
    order = np.argsort(scores)
    scores = scores[order]
    # Compare instead of subtracting: the difference of two huge scores overflows.
    ends = np.append(np.flatnonzero(scores[1:] != scores[:-1]), scores.size - 1)
    accepted = np.concatenate([[0], ends + 1])
    outside_accepted = np.concatenate([[0], np.cumsum(order >= inside.size)[ends]])
    return AcceptedCounts(accepted - outside_accepted, outside_accepted)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Ranks of samples, sorted once to be counted many times with different weights.

    Attributes:
        place: [N] rank of each sample's score among the distinct scores.
        places: number of distinct scores.
    """

    place: NDArray[np.int64]
    places: int

    @classmethod
    def of(cls, scores: NDArray[np.float64]) -> Ranking:
        """Rank finite scores [N]."""
        distinct, place = np.unique(scores, return_inverse=True)
        return cls(place, distinct.size)

    def coarse(self, limit: int, groups: NDArray[np.int64]) -> Ranking:
        """Merge neighbouring ranks, such that at most about `limit` remain.

        One half of the ranks is distributed over all samples, the other half equally over the groups, so that samples
        of small groups keep their own ranks.

        Args:
            limit: number of ranks.
            groups: [N] group of each sample, from 0 to the number of groups minus 1.
        """
        if self.places <= limit:
            return self
        sizes = np.bincount(groups)
        parts = 1 / groups.size + 1 / (sizes.size * sizes[groups])
        weights = np.bincount(self.place, parts, self.places) * (limit / 2)
        # The middle of the weight of each distinct score.
        middles = np.cumsum(weights) - weights / 2
        return Ranking.of(np.floor(middles)[self.place])

    def histogram(self, samples: NDArray[np.int64], weights: NDArray[Any]) -> NDArray[np.int64]:
        """Count the samples [n] by rank, each `weights` [n] times; return [places] int64."""
        return np.bincount(self.place[samples], weights=weights, minlength=self.places).astype(np.int64)


def counts_of_histograms(inside: NDArray[np.int64], outside: NDArray[np.int64]) -> AcceptedCounts:
    """Return the counts for histograms over ranks, [T] each; omit ranks without samples."""
    occurring = (inside + outside) > 0
    return AcceptedCounts(*(np.concatenate([[0], np.cumsum(kind[occurring])]) for kind in (inside, outside)))
