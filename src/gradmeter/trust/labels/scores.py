"""Scores of labels: how much each piece of evidence speaks against a label. Higher means more likely wrong."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gradmeter.reading.readings import Readings
from gradmeter.trust.labels.inputs import LabelReadings, Labels, Values
from gradmeter.trust.labels.neighbours import NEIGHBOURS, Neighbours, nearest

# Labels that each class has before one counts.
_BEFORE = 0.5
# Rows of a tile.
_TILE = 4096
# Squared length of a sum of nothing, up to rounding.
_NOTHING = 1e-9
# Statistics that are not larger for a larger gradient; the first is negative.
_SIGNED = ("/min", "/mean", "/skewness")


class LabelScores:
    """Scores of labels of N inputs; the neighbours are found once, for any number of labels.

    Args:
        inputs: the inputs and their given labels. Neighbours vote with their given labels.
        neighbours: number of neighbours.
        seed: of the random choices for many inputs.
    """

    def __init__(self, inputs: LabelReadings, neighbours: int = NEIGHBOURS, seed: int = 0) -> None:
        self.inputs = inputs
        self._count, self._seed = neighbours, seed
        self._trust: Values | None = None

    def trusting(self, p_label: Values) -> LabelScores:
        """Return scores for which each label counts, as a neighbour's and in its class's centre, as P(it is right).

        Args:
            p_label: [N] probability that each given label is right.
        """
        scores = LabelScores(self.inputs, self._count, self._seed)
        scores.neighbours, scores._trust = self.neighbours, p_label
        return scores

    @cached_property
    def neighbours(self) -> Neighbours:
        """The nearest neighbours in the embedding."""
        return nearest(self.inputs.embedding, self._count, self._seed)

    @cached_property
    def absent(self) -> NDArray[np.bool_]:
        """[C] whether no label is of a class."""
        absent: NDArray[np.bool_] = self.inputs.counts == 0
        return absent

    @property
    def shares(self) -> Values:
        """[C] share of each class among the labels, each as it counts; with half a label more of each class."""
        counts = np.bincount(self.inputs.labels, self._trust, self.inputs.classes) + _BEFORE
        shares: Values = counts / counts.sum()
        return shares

    @cached_property
    def sums(self) -> Values:
        """[C, d] sum of the directions of the embedding of each class, each as it counts."""
        directions = self.neighbours.embedding
        sums = np.zeros((self.inputs.classes, directions.shape[1]), np.float64)
        for start in range(0, len(directions), _TILE):
            part = directions[start : start + _TILE]
            weighted = part if self._trust is None else part * self._trust[start : start + _TILE, None]
            np.add.at(sums, self.inputs.labels[start : start + _TILE], weighted)
        return sums

    @cached_property
    def centres(self) -> NDArray[np.float32]:
        """[C, d] mean direction of the embedding of each class; zeros for a class without samples."""
        lengths = np.linalg.norm(self.sums, axis=1, keepdims=True)
        return (self.sums / np.where(lengths > 0, lengths, 1)).astype(np.float32)

    def cosines_without_self(self, rows: Labels) -> Values:
        """Return the cosine similarity of each row to the mean direction of each class, [n, C].

        A row does not count in the mean of its own class. Classes without (other) samples have -2.
        """
        labels, at = self.inputs.labels[rows], np.arange(len(rows))
        own = np.ones(len(rows)) if self._trust is None else self._trust[rows]
        directions = self.neighbours.embedding[rows].astype(np.float64)
        products = directions @ self.sums.T
        lengths = np.linalg.norm(self.sums, axis=1)
        given = products[at, labels]
        # Rounded to float32, a direction does not have the length 1.
        itself = own * (directions**2).sum(axis=1)
        squares = np.maximum(lengths[labels] ** 2 - 2 * own * given + own * itself, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            cosines = products / lengths
            cosines[at, labels] = (given - itself) / np.sqrt(squares)
        # The rest of a class with one sample is rounding.
        nothing = np.broadcast_to(lengths == 0, cosines.shape).copy()
        nothing[at, labels] = squares < _NOTHING * np.maximum(own, _NOTHING) ** 2
        return np.where(nothing, -2.0, cosines)

    def votes(self, rows: Labels) -> Values:
        """Return how many neighbours of each row have each class as their given label, [n, C]."""
        neighbours = self.neighbours.rows[rows]
        present = neighbours >= 0
        votes = np.zeros((len(rows), self.inputs.classes))
        at = np.broadcast_to(np.arange(len(rows))[:, None], neighbours.shape)
        near = neighbours[present]
        np.add.at(votes, (at[present], self.inputs.labels[near]), 1.0 if self._trust is None else self._trust[near])
        return votes

    def at(self, labels: Labels, rows: Labels | None = None, readings: Readings | None = None) -> dict[str, Values]:
        """Return scores by name, [n] each.

        Args:
            labels: [n] labels to score.
            rows: [n] rows of the inputs; by default all.
            readings: gradients of these rows at these labels; None for the forward pass only.
        """
        rows = np.arange(len(self.inputs)) if rows is None else rows
        parts = [self._tile(rows[tile], labels[tile]) for tile in _tiles(len(rows))]
        scored = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return scored if readings is None else scored | _of_gradients(readings)

    def _tile(self, rows: Labels, labels: Labels) -> dict[str, Values]:
        p = np.exp(self.inputs.log_probabilities(rows))
        given, others = _split(p, labels)
        # Differences such as 1 - p of the label would lose digits.
        doubt = others.sum(axis=1)
        errors = np.sqrt((others**2).sum(axis=1) + doubt**2)
        lengths = np.linalg.norm(np.asarray(self.inputs.embedding[rows], np.float64), axis=1)
        votes = self.votes(rows)
        voted = np.maximum(votes.sum(axis=1), 1)
        cosines = self._cosines(rows)
        own, nearest_other = _split(cosines, labels)
        return {
            "self_confidence": doubt,
            "margin": others.max(axis=1) - given,
            "el2n": errors,
            "grand_last": errors * np.sqrt(1 + lengths**2),
            "knn": 1 - _split(votes, labels)[0] / voted,
            "centre": nearest_other.max(axis=1) - own,
        }

    def _cosines(self, rows: Labels) -> Values:
        cosines: Values = (self.neighbours.embedding[rows] @ self.centres.T).astype(np.float64)
        # A class without samples is no candidate.
        cosines[:, ~self.centres.any(axis=1)] = -1
        return cosines


def scores(inputs: LabelReadings) -> dict[str, Values]:
    """Return scores of the given labels by name, [N] each; higher means that the label is more likely wrong.

    - "self_confidence": 1 - p of the label.
    - "margin": largest p of another class minus p of the label.
    - "el2n": Euclidean norm of p minus the one-hot label (Paul, Ganguli and Dziugaite 2021).
    - "grand_last": norm of the gradient of -log p with respect to the last layer, a dense one with biases.
    - "knn": share of the 20 nearest neighbours in the embedding that have another label.
    - "centre": cosine similarity to the nearest other class's mean minus that to the label's.
    - With gradients, "grand" (norm of the whole gradient, Paul et al. 2021) and "LAYER/STATISTIC".
    """
    return LabelScores(inputs).at(inputs.labels, readings=inputs.given)


def _of_gradients(readings: Readings) -> dict[str, Values]:
    values = readings.values.double().cpu().numpy()
    named = {
        f"{layer}/{metric}": values[:, row, column]
        for row, layer in enumerate(readings.layers)
        for column, metric in enumerate(readings.metrics)
    }
    for name, numbers in named.items():
        # The sign of a mean and of a skewness says nothing about a label.
        if name.endswith(_SIGNED):
            named[name] = -numbers if name.endswith(_SIGNED[0]) else np.abs(numbers)
    return {"grand": named["all/l2"], **named}


def _split(values: Values, labels: Labels) -> tuple[Values, Values]:
    """Return the entries [n] at the labels of values [n, C], and the other entries [n, C - 1]."""
    mask = np.zeros(values.shape, np.bool_)
    mask[np.arange(len(labels)), labels] = True
    return values[mask], values[~mask].reshape(len(labels), -1)


def _tiles(count: int) -> Iterator[slice]:
    return (slice(start, start + _TILE) for start in range(0, max(count, 1), _TILE))
