"""Copies of an input: folds that keep them together, so that no held-out input was seen in training, or one of each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

Rows = NDArray[np.int64]
Fold = tuple[Rows, Rows]
"""Training rows and test rows of a fold."""

FOLDS = 5
# With fewer distinct inputs of a class, the training rows of some fold might have none.
_LEAST_DISTINCT = 2 * FOLDS


def plain_folds(contents: NDArray[np.uint64], right: NDArray[np.bool_]) -> list[Fold]:
    """Split samples into random folds.

    Args:
        contents: [N] equal numbers for equal inputs.
        right: [N] whether the prediction was right. If fewer than ten distinct inputs are right, copies are not kept
            together.
    """
    groups = _groups(contents, right, (True,))
    splits = KFold(FOLDS, shuffle=True, random_state=0).split(np.arange(groups.max() + 1))
    tests = [np.isin(groups, test_groups) for _, test_groups in splits]
    return [(np.flatnonzero(~test), np.flatnonzero(test)) for test in tests]


def stratified_folds(contents: NDArray[np.uint64], target: NDArray[np.int64]) -> list[Fold]:
    """Split samples into random folds with about equal shares of both classes of `target` [N].

    Copies are kept together as in `plain_folds`.
    """
    groups = _groups(contents, target, (0, 1))
    options = {"n_splits": FOLDS, "shuffle": True, "random_state": 0}
    if len(np.unique(groups)) == len(groups):
        return list(StratifiedKFold(**options).split(groups, target))
    return list(StratifiedGroupKFold(**options).split(groups, target, groups))


def distinct_rows(contents: NDArray[np.uint64], classes: NDArray[np.generic]) -> tuple[Rows, Rows]:
    """Find the samples without copies of one input and class.

    Args:
        contents: [N] equal numbers for equal inputs.
        classes: [N] classes.

    Returns:
        The row of the first copy of each input and class, in order, and for each sample [N] its position among them.
    """
    _, first, numbers = np.unique(
        np.stack([contents, classes.astype(np.uint64)]), axis=1, return_index=True, return_inverse=True
    )
    order = np.argsort(first)
    return first[order], np.argsort(order)[numbers.reshape(-1)]


def numbered(contents: NDArray[np.uint64]) -> Rows:
    """Number the distinct contents in order of first occurrence, [N]."""
    _, first, numbers = np.unique(contents, return_index=True, return_inverse=True)
    groups: Rows = np.argsort(np.argsort(first))[numbers]
    return groups


def _groups(contents: NDArray[np.uint64], classes: NDArray[np.generic], needed: tuple[int, ...]) -> Rows:
    """Number the distinct inputs in order of first occurrence, [N]; each sample alone if a needed class is small."""
    # Copies of an input may differ in their labels, and then count for both classes.
    distinct = classes[distinct_rows(contents, classes)[0]]
    if any(np.count_nonzero(distinct == label) < _LEAST_DISTINCT for label in needed):
        return np.arange(len(contents))
    return numbered(contents)
