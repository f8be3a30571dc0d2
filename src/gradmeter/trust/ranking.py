"""Compare a learned ranking of predictions with that of the softmax, by how well they separate wrong predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

LEAST_WRONG = 10
"""Smallest number of wrong predictions for which two rankings are compared."""


def fallback_reason(
    p_correct: NDArray[np.float64],
    softmax: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    folds: NDArray[np.int64],
) -> str | None:
    """Return why known inputs should be ranked by the softmax; None if P(correct) ranks them at least as well.

    Args:
        p_correct: [N] held-out P(correct) of known inputs.
        softmax: [N] a score that grows with the maximum softmax probability.
        wrong: [N] whether the prediction was wrong.
        folds: [N] the fold of each input; scores of different folds are not compared, because different classifiers
            gave them.
    """
    errors = np.count_nonzero(wrong)
    if errors < LEAST_WRONG:
        return f"{errors} predictions are wrong, and {LEAST_WRONG} are needed to show that another ranking is better"
    learned, baseline = (auroc_within_folds(-score, wrong, folds) for score in (p_correct, softmax))
    if learned >= baseline:
        return None
    return (
        "on held-out folds the learned ranking separates wrong predictions worse, with an AUROC of "
        f"{100 * learned:.2f} % against {100 * baseline:.2f} %"
    )


def auroc_within_folds(score: NDArray[np.float64], wrong: NDArray[np.bool_], folds: NDArray[np.int64]) -> float:
    """Return the AUROC over all pairs of a wrong and a right prediction in the same fold; 0.5 without pairs."""
    area, pairs = 0.0, 0.0
    for fold in np.unique(folds):
        rows = folds == fold
        count = float(np.count_nonzero(wrong[rows]) * np.count_nonzero(~wrong[rows]))
        if count:
            area += count * roc_auc_score(wrong[rows], score[rows])
            pairs += count
    return area / pairs if pairs else 0.5
