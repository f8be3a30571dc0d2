"""Folds in which copies of an input stay together."""

from __future__ import annotations

import numpy as np

from gradmeter.trust.labels.inputs import LabelReadings, Labels


def folds_of(inputs: LabelReadings, folds: int, seed: int) -> Labels:
    """Return the fold of each input [N]; copies of an input share one."""
    groups = np.arange(len(inputs))
    if inputs.contents is not None:
        groups = np.unique(inputs.contents, return_inverse=True)[1]
    order = np.random.default_rng([seed, 2]).permutation(int(groups.max()) + 1)
    return np.asarray(order[groups] % folds, np.int64)
