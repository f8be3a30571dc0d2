"""How uncertain the softmax is at every pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def softmax_maps(logits: Values) -> tuple[Values, dict[str, Values]]:
    """Return the class probabilities, [C, P], and what MetaSeg reads of them, [P] each, in [0, 1].

    Args:
        logits: [C, P], C >= 2.

    Returns:
        The probabilities, and three numbers that are high where the softmax is uncertain and do not round to 0 where it
        is confident: "entropy", divided by log C; "margin", 1 minus the difference of the two largest probabilities;
        "variation_ratio", 1 minus the largest.
    """
    columns = np.arange(logits.shape[1])
    top = logits.argmax(0)
    distance = logits[top, columns] - logits
    weights = np.exp(-distance)
    weights[top, columns] = 0.0
    others, second = weights.sum(0), weights.max(0)
    total = 1 + others
    entropy = np.log1p(others) + (weights * distance).sum(0) / total
    maps = {
        "entropy": np.minimum(entropy / np.log(len(logits)), 1.0),
        "margin": (others + second) / total,
        "variation_ratio": others / total,
    }
    weights[top, columns] = 1.0
    weights /= total
    return weights, maps
