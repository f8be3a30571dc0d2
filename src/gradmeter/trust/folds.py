"""Folds in which copies of an input stay together: a judge that has seen one of them has seen them all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

Rows = NDArray[np.int64]
Fold = tuple[Rows, Rows]
"""Rows of the other folds, and of this one."""

FOLDS = 5
# With fewer different inputs of a kind a fold might leave none of them to the others.
_LEAST_DIFFERENT = 2 * FOLDS


def plain_folds(contents: NDArray[np.uint64], right: NDArray[np.bool_]) -> list[Fold]:
    """Random folds.

    Args:
        contents: [N] equal numbers for equal inputs.
        right: [N] whether the prediction was right; where fewer than ten different inputs are, copies count as others.
    """
    groups = _groups(contents, right, (True,))
    splits = KFold(FOLDS, shuffle=True, random_state=0).split(np.arange(groups.max() + 1))
    own = [np.isin(groups, numbers) for _, numbers in splits]
    return [(np.flatnonzero(~rows), np.flatnonzero(rows)) for rows in own]


def stratified_folds(contents: NDArray[np.uint64], target: NDArray[np.int64]) -> list[Fold]:
    """Random folds with both classes of a target, [N], in about equal shares; otherwise as `plain_folds`."""
    groups = _groups(contents, target, (0, 1))
    options = {"n_splits": FOLDS, "shuffle": True, "random_state": 0}
    if len(np.unique(groups)) == len(groups):
        return list(StratifiedKFold(**options).split(groups, target))
    return list(StratifiedGroupKFold(**options).split(groups, target, groups))


def _groups(contents: NDArray[np.uint64], kinds: NDArray[np.generic], needed: tuple[int, ...]) -> Rows:
    """[N] numbers, the same for equal inputs, in the order in which these come first."""
    _, first, numbers = np.unique(contents, return_index=True, return_inverse=True)
    if any(np.count_nonzero(kinds[first] == kind) < _LEAST_DIFFERENT for kind in needed):
        return np.arange(len(contents))
    groups: Rows = np.argsort(np.argsort(first))[numbers]
    return groups
