"""Shares of labels that the predictions contradict: those of confident learning, and all."""

from __future__ import annotations

import numpy as np

from gradmeter.trust.labels.inputs import LabelReadings

# Rows whose probabilities are in memory together.
_TILE = 4096


def contradicted_shares(inputs: LabelReadings) -> tuple[float, float]:
    """Return the share of labels off the diagonal of the confident joint, and that of all that are not predicted.

    A class is confident for an input if its probability reaches the mean of that of the inputs with this label. A label
    is off the diagonal if the most likely confident class is another one, and is also more likely than the label
    (Northcutt, Jiang and Chuang 2021).
    """
    counts = inputs.counts
    sums = np.zeros(inputs.classes)
    for start in range(0, len(inputs), _TILE):
        rows = slice(start, start + _TILE)
        labels = inputs.labels[rows]
        p = np.exp(inputs.log_probabilities(rows))
        sums += np.bincount(labels, p[np.arange(len(labels)), labels], inputs.classes)
    limits = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confidently = contradicted = 0
    for start in range(0, len(inputs), _TILE):
        rows = slice(start, start + _TILE)
        labels = inputs.labels[rows]
        p = np.exp(inputs.log_probabilities(rows))
        confident = np.where(p >= limits, p, -1.0)
        chosen, at = confident.argmax(axis=1), np.arange(len(labels))
        other = p.argmax(axis=1) != labels
        confidently += int(((confident[at, chosen] >= 0) & (chosen != labels) & other).sum())
        contradicted += int(other.sum())
    return confidently / len(inputs), contradicted / len(inputs)
