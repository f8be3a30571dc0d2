"""Shares of labels that the predictions contradict: those of confident learning, and all."""

from __future__ import annotations

import numpy as np

from gradmeter.trust.labels.inputs import LabelReadings

# Rows whose probabilities are in memory together.
_TILE = 4096


def contradicted_share(inputs: LabelReadings) -> float:
    """Return the share of labels that are not the most likely class."""
    contradicted = 0
    for start in range(0, len(inputs), _TILE):
        rows = slice(start, start + _TILE)
        contradicted += int((inputs.log_probabilities(rows).argmax(axis=1) != inputs.labels[rows]).sum())
    return contradicted / len(inputs)


def confidently_contradicted_share(inputs: LabelReadings) -> float:
    """Return the share of labels off the diagonal of the confident joint (Northcutt, Jiang and Chuang 2021).

    A class is confident for an input if its probability reaches the mean of that of the inputs with this label. A label
    is contradicted if the most likely confident class is another one, and is also more likely than the label.
    """
    counts = inputs.counts
    sums = np.zeros(inputs.classes)
    for start in range(0, len(inputs), _TILE):
        rows = slice(start, start + _TILE)
        labels = inputs.labels[rows]
        p = np.exp(inputs.log_probabilities(rows))
        sums += np.bincount(labels, p[np.arange(len(labels)), labels], inputs.classes)
    limits = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    contradicted = 0
    for start in range(0, len(inputs), _TILE):
        rows = slice(start, start + _TILE)
        labels = inputs.labels[rows]
        p = np.exp(inputs.log_probabilities(rows))
        confident = np.where(p >= limits, p, -1.0)
        chosen, at = confident.argmax(axis=1), np.arange(len(labels))
        contradicted += int(((confident[at, chosen] >= 0) & (chosen != labels) & (p.argmax(axis=1) != labels)).sum())
    return contradicted / len(inputs)
