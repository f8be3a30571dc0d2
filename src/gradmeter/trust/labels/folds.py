"""Folds in which copies of an input stay together."""

from __future__ import annotations

import numpy as np

from gradmeter.errors import InputError
from gradmeter.trust.labels.inputs import LabelReadings, Labels


def require_folds(inputs: LabelReadings, folds: int) -> None:
    """Check that no fold is empty.

    Raises:
        InputError: if there are fewer different inputs than folds.
    """
    distinct = len(inputs) if inputs.contents is None else len(np.unique(inputs.contents))
    if distinct < folds:
        raise InputError(
            f"the labels are of {distinct} different inputs; expected at least {folds}, one for each fold: give more"
        )


def folds_of(inputs: LabelReadings, folds: int, seed: int) -> Labels:
    """Return the fold of each input [N]; copies of an input share one.

    Raises:
        InputError: see `require_folds`.
    """
    require_folds(inputs, folds)
    groups = np.arange(len(inputs))
    if inputs.contents is not None:
        groups = np.unique(inputs.contents, return_inverse=True)[1]
    order = np.random.default_rng([seed, 2]).permutation(int(groups.max()) + 1)
    return np.asarray(order[groups] % folds, np.int64)
