"""Confident learning (Northcutt, Jiang and Chuang 2021), as cleanlab computes it."""

from __future__ import annotations

import warnings

import numpy as np
from cleanlab.count import num_label_issues
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Values = NDArray[np.float64]


def confident_learning(labels: Labels, probabilities: Values) -> tuple[Values, float]:
    """Return scores [N] and the estimated share of wrong labels.

    Labels that confident learning would remove come first, and then the others, both by cleanlab's self-confidence.

    Args:
        labels: [N] given labels.
        probabilities: [N, C] from a network that did not learn these labels.
    """
    with warnings.catch_warnings():
        # A class with few labels is not pruned, which is as it should be.
        warnings.simplefilter("ignore", UserWarning)
        issues = find_label_issues(labels, probabilities, n_jobs=1)
    doubt = 1 - get_label_quality_scores(labels, probabilities, method="self_confidence")
    return doubt + issues, num_label_issues(labels, probabilities) / len(labels)
