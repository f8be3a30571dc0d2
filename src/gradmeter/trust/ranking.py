"""Whether a learned ranking of predictions finds the wrong ones at least as well as the softmax does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

LEAST_WRONG = 10
"""With fewer wrong predictions one ranking cannot be shown to be better than another."""


def fallback(
    p_correct: NDArray[np.float64],
    softmax: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    folds: NDArray[np.int64],
) -> str | None:
    """Why the softmax should rank known inputs; None where P(correct) does it at least as well.

    Args:
        p_correct: [N] held-out P(correct) of known inputs.
        softmax: [N] a score that grows with the largest softmax output.
        wrong: [N] whether the prediction was wrong.
        folds: [N] by which judge P(correct) was made; those of different judges are not compared.
    """
    errors = np.count_nonzero(wrong)
    if errors < LEAST_WRONG:
        return f"{errors} predictions are wrong, and {LEAST_WRONG} are needed to show that another ranking is better"
    ours, theirs = (_auroc_within(-score, wrong, folds) for score in (p_correct, softmax))
    if ours >= theirs:
        return None
    return (
        f"on held-out folds the learned ranking finds wrong predictions worse, AUROC {100 * ours:.2f} against "
        f"{100 * theirs:.2f} %"
    )


def _auroc_within(score: NDArray[np.float64], wrong: NDArray[np.bool_], folds: NDArray[np.int64]) -> float:
    """AUROC over all pairs of a wrong and a right prediction in the same fold."""
    area, pairs = 0.0, 0.0
    for fold in np.unique(folds):
        own = folds == fold
        count = float(np.count_nonzero(wrong[own]) * np.count_nonzero(~wrong[own]))
        if count:
            area += count * roc_auc_score(wrong[own], score[own])
            pairs += count
    return area / pairs if pairs else 0.5
