"""How uncertain the softmax is at every pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def probabilities(logits: Values) -> Values:
    """Return class probabilities [C, P] for logits [C, P]; for one channel, those of two classes [2, P]."""
    shifted = np.exp(logits - logits.max(0))
    shares: Values = shifted / shifted.sum(0)
    return shares


def dispersions(logits: Values) -> dict[str, Values]:
    """Return what MetaSeg reads of the softmax, [P] each, in [0, 1] and high where it is uncertain.

    Args:
        logits: [C, P], C >= 2.

    Returns:
        "entropy", divided by log C; "margin", 1 minus the difference of the two largest probabilities;
        "variation_ratio", 1 minus the largest. None of them rounds to 0 for confident pixels.
    """
    columns = np.arange(logits.shape[1])
    top = logits.argmax(0)
    distance = logits[top, columns] - logits
    weights = np.exp(-distance)
    weights[top, columns] = 0.0
    others, second = weights.sum(0), weights.max(0)
    total = 1 + others
    # exp(-d) * d is 0 for the largest logit and for those that underflow.
    entropy = np.log1p(others) + (weights * distance).sum(0) / total
    return {
        "entropy": np.minimum(entropy / np.log(len(logits)), 1.0),
        "margin": (others + second) / total,
        "variation_ratio": others / total,
    }
