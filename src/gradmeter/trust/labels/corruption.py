"""Labels that gradmeter corrupts itself, as examples of wrong labels to learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradmeter.trust.labels.inputs import LabelReadings, Labels, Values
from gradmeter.trust.labels.scores import LabelScores

KINDS = ("symmetric", "confused", "neighbour")
"""Kinds of wrong labels: any other class; a class that the network confuses with the given one; the class of the
nearest neighbour that has another label."""

SHARE = 0.15
"""Share of the inputs that get a wrong label, if a second gradient has to be read for each."""

_LEAST, _MOST = 300, 10_000
# Rows whose probabilities are in memory together.
_TILE = 4096


@dataclass(frozen=True, eq=False)
class Corruption:
    """Wrong labels for some of N inputs.

    Attributes:
        rows: [n] the inputs, in ascending order.
        labels: [n] wrong labels; they differ from the given ones.
        kinds: [n] index in `KINDS` of what made the label.
    """

    rows: Labels
    labels: Labels
    kinds: Labels


def corrupt(scores: LabelScores, seed: int = 0, share: float = SHARE) -> Corruption:
    """Draw inputs at random and give them wrong labels, a third of them of each kind.

    A given label may be wrong already, so where the network predicts another class, that class is not drawn.

    Args:
        scores: the inputs, with their neighbours.
        seed: of the draw.
        share: share of the inputs that get a wrong label; at least 300 inputs if there are as many, at most 10,000.

    Raises:
        InputError: if all given labels are of one class.
    """
    inputs, random = scores.inputs, np.random.default_rng([seed, 1])
    inputs.require_two_classes()
    present = inputs.counts > 0
    count = min(len(inputs), _MOST, max(_LEAST, round(share * len(inputs))))
    rows = np.sort(random.choice(len(inputs), count, replace=False)).astype(np.int64)
    kinds = random.permutation(np.arange(count) % len(KINDS))
    given = inputs.labels[rows]
    confusion = _confusion(inputs)
    weights = np.where(kinds[:, None] == KINDS.index("symmetric"), 1.0, confusion[given])
    nearest = _nearest_other(scores, rows)
    is_near = kinds == KINDS.index("neighbour")
    weights[is_near] = 1e-6 * weights[is_near]
    weights[is_near, nearest[is_near]] = 1.0
    predicted = _predictions(inputs, rows)
    at = np.arange(count)
    doubtful = predicted != given
    weights[at[doubtful], predicted[doubtful]] = 0.0
    weights[at, given] = 0.0
    weights *= present
    # With two classes nothing but the predicted class may be left.
    kept = weights.sum(axis=1) > 0
    chosen = (weights[kept] / weights[kept].sum(axis=1, keepdims=True)).cumsum(axis=1)
    labels = (chosen < random.random((len(chosen), 1))).sum(axis=1).clip(max=inputs.classes - 1)
    return Corruption(rows[kept], labels.astype(np.int64), kinds[kept].astype(np.int64))


def _confusion(inputs: LabelReadings) -> Values:
    """Return the mean probabilities [C, C] of the inputs of each given class, with a small share for every class."""
    sums = np.zeros((inputs.classes, inputs.classes))
    for start in range(0, len(inputs), _TILE):
        part = slice(start, start + _TILE)
        np.add.at(sums, inputs.labels[part], np.exp(inputs.log_probabilities(part)))
    counts = inputs.counts[:, None]
    confusion: Values = sums / np.maximum(counts, 1) + 1e-4 / inputs.classes
    return confusion


def _predictions(inputs: LabelReadings, rows: Labels) -> Labels:
    parts = [
        inputs.log_probabilities(rows[start : start + _TILE]).argmax(axis=1) for start in range(0, len(rows), _TILE)
    ]
    return np.concatenate(parts)


def _nearest_other(scores: LabelScores, rows: Labels) -> Labels:
    """Return the class of the nearest neighbour with another label; if there is none, that of the nearest centre."""
    inputs, neighbours = scores.inputs, scores.neighbours
    given = inputs.labels[rows]
    near = neighbours.rows[rows]
    labels = np.where(near >= 0, inputs.labels[near], given[:, None])
    other: NDArray[np.bool_] = labels != given[:, None]
    cosines = neighbours.embedding[rows] @ scores.centres.T
    cosines[:, ~scores.centres.any(axis=1)] = -2
    cosines[np.arange(len(rows)), given] = -2
    first = labels[np.arange(len(rows)), other.argmax(axis=1)]
    return np.asarray(np.where(other.any(axis=1), first, cosines.argmax(axis=1)), np.int64)
