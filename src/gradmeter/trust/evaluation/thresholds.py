"""Counts behind every threshold: what a rule "accept if the uncertainty is below t" lets through, for all t at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class AcceptedCounts:
    """How many samples of either kind are accepted as the threshold rises past each distinct score.

    Both arrays are [T + 1] for T distinct scores; they start at 0 (nothing accepted) and end at the sample sizes.
    Equal scores are accepted together.
    """

    inside: NDArray[np.int64]
    outside: NDArray[np.int64]

    def rejected(self) -> AcceptedCounts:
        """Return the counts of what is rejected as the threshold falls from the highest score, in the same layout."""
        return AcceptedCounts((self.inside[-1] - self.inside)[::-1], (self.outside[-1] - self.outside)[::-1])


def accepted_counts(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> AcceptedCounts:
    """Count the finite scores of both samples, [N] and [M], below every threshold, with a single sort of all N + M."""
    scores = np.concatenate([inside, outside])
    order = np.argsort(scores)
    scores = scores[order]
    # A comparison, not a difference: that of two huge scores overflows.
    ends = np.append(np.flatnonzero(scores[1:] != scores[:-1]), scores.size - 1)
    accepted = np.concatenate([[0], ends + 1])
    outside_accepted = np.concatenate([[0], np.cumsum(order >= inside.size)[ends]])
    return AcceptedCounts(accepted - outside_accepted, outside_accepted)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Samples sorted once, to be counted many times with other weights.

    Attributes:
        place: [N] the rank of each sample's score among the distinct ones.
        places: how many distinct ones there are.
    """

    place: NDArray[np.int64]
    places: int

    @classmethod
    def of(cls, scores: NDArray[np.float64]) -> Ranking:
        """Rank finite scores [N]."""
        distinct, place = np.unique(scores, return_inverse=True)
        return cls(place, distinct.size)

    def coarse(self, limit: int, groups: NDArray[np.int64]) -> Ranking:
        """The same with at most about `limit` places; beyond it neighbours share one.

        Half of the places go to all samples alike, half to the groups in equal parts: samples of a small group share
        none with others.

        Args:
            limit: of the places.
            groups: [N] the number of each sample's group; no number is left out.
        """
        if self.places <= limit:
            return self
        sizes = np.bincount(groups)
        parts = 1 / groups.size + 1 / (sizes.size * sizes[groups])
        weights = np.bincount(self.place, parts, self.places) * (limit / 2)
        # The middle of each distinct score's part.
        middles = np.cumsum(weights) - weights / 2
        return Ranking.of(np.floor(middles)[self.place])

    def histogram(self, samples: NDArray[np.int64], weights: NDArray[Any]) -> NDArray[np.int64]:
        """How often each place occurs among some samples [n], each counted `weights` [n] times."""
        return np.bincount(self.place[samples], weights=weights, minlength=self.places).astype(np.int64)


def counts_of_histograms(inside: NDArray[np.int64], outside: NDArray[np.int64]) -> AcceptedCounts:
    """Count from how often each rank occurs, [T] both; ranks that do not occur are left out."""
    occurring = (inside + outside) > 0
    return AcceptedCounts(*(np.concatenate([[0], np.cumsum(kind[occurring])]) for kind in (inside, outside)))
