"""Why a label is doubtful, which class would be likelier, and which layers object to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradmeter.reading.readings import Readings
from gradmeter.trust.labels.inputs import Labels, Values
from gradmeter.trust.labels.scores import LabelScores
from gradmeter.trust.layer_ranges import GradientRanges, gradient_sizes, gradient_values

WRONG_LABEL, UNFAMILIAR, AMBIGUOUS = "wrong label", "unfamiliar input", "ambiguous"
REASONS = (WRONG_LABEL, UNFAMILIAR, AMBIGUOUS)
"""Reasons to look at a label."""

DOUBTFUL = 0.9
"""A label whose P(right) is below this gets a reason."""

# Below this P(right), the label is called wrong.
_WRONG = 0.5
# An input is unfamiliar if it is farther from its neighbours than this share of those whose labels are likely right, or
# of all if these are less than half.
_FAMILIAR = 0.99
# Rows of a tile.
_TILE = 4096


def suggestions_of(scores: LabelScores) -> Labels:
    """Return for each input the most likely class other than its label, by the network and the neighbours, [N]."""
    inputs = scores.inputs
    suggestions = np.empty(len(inputs), np.int64)
    for start in range(0, len(inputs), _TILE):
        rows = np.arange(start, min(start + _TILE, len(inputs)))
        votes = scores.votes(rows)
        shares = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)
        likely = np.exp(inputs.log_probabilities(rows)) + shares
        likely[np.arange(len(rows)), inputs.labels[rows]] = -1
        suggestions[rows] = likely.argmax(axis=1)
    return suggestions


def reasons_of(scores: LabelScores, p_label: Values) -> NDArray[np.str_]:
    """Return the reason to look at each label, [N]; empty for labels that are likely right."""
    distance = 1 - scores.neighbours.similarity.mean(axis=1)
    right = distance[p_label >= DOUBTFUL]
    limit = np.quantile(right if 2 * len(right) >= len(distance) else distance, _FAMILIAR)
    doubtful = np.select([distance > limit, p_label < _WRONG], [UNFAMILIAR, WRONG_LABEL], AMBIGUOUS)
    return np.where(p_label < DOUBTFUL, doubtful, "")


def layer_objections(given: Readings | None, p_label: Values) -> list[tuple[str, ...]]:
    """Return the layers whose gradient at the label is larger than usual for right labels, the largest first.

    Args:
        given: readings at the given labels; None without gradients.
        p_label: [N] P(the label is right); usual are the labels with at least 0.9.
    """
    none: list[tuple[str, ...]] = [()] * len(p_label)
    right = p_label >= DOUBTFUL
    if given is None or not right.any():
        return none
    ranges = GradientRanges.of(given.rows(right))
    if ranges is None:
        return none
    (values,) = gradient_values(given, ranges)
    objections = values.objections
    assert objections is not None
    order = np.argsort(-gradient_sizes(given), axis=1)
    return [
        tuple(values.layers[layer] for layer in order[row] if objections[row, layer]) if p_label[row] < DOUBTFUL else ()
        for row in range(len(p_label))
    ]
