"""Counts behind every threshold: what a rule "accept if the uncertainty is below t" lets through, for all t at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class AcceptedCounts:
    """How many samples of either kind are accepted as the threshold rises past each distinct score.

    Both arrays are int64 [T + 1] for T distinct scores; they start at 0 (nothing accepted) and end at the sample sizes.
    Equal scores are accepted together.
    """

    inside: NDArray[np.int64]
    outside: NDArray[np.int64]

    def rejected(self) -> "AcceptedCounts":
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
