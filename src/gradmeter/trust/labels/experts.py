"""Evidence for every class of a sample that does not depend on the sample's own label."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from gradmeter.trust.labels.inputs import EXCLUDED, LabelReadings, Labels, Values
from gradmeter.trust.labels.noise import Classes
from gradmeter.trust.labels.scores import LabelScores

# Cosine similarities times this are about log evidence.
_SHARPNESS = 10.0
# Votes that each class has before a neighbour votes.
_BEFORE = 0.5
# A class with less than this part of a C-th of the labels is rare.
_RARE = 0.25
# Rows whose probabilities are in memory together.
_TILE = 4096


def network_expert(scores: LabelScores, rows: Labels) -> Values:
    """Return log p [n, C] of the network, or of the heads that were fitted without the samples."""
    return scores.inputs.log_probabilities(rows)


def centre_expert(scores: LabelScores, rows: Labels) -> Values:
    """Return the cosine similarity [n, C] to the mean direction of each class, the sample itself left out.

    The centres say nothing about a class without other samples: it is as near as the nearest one. But where heads were
    fitted to these labels (out-of-fold probabilities), no sample is of a class without labels.
    """
    inputs, cosines = scores.inputs, scores.cosines_without_self(rows)
    evidence = _SHARPNESS * np.where(cosines < -1, cosines.max(axis=1, keepdims=True), cosines)
    if inputs.probabilities is not None:
        evidence[:, scores.absent] = EXCLUDED
    return evidence


def vote_expert(scores: LabelScores, rows: Labels) -> Values:
    """Return the logarithm [n, C] of the share of each class among the labels of the neighbours."""
    votes = scores.votes(rows) + _BEFORE
    logarithms: Values = np.log(votes / votes.sum(axis=1, keepdims=True))
    return logarithms


def classes_of(inputs: LabelReadings, weight: float = 1.0) -> Classes:
    """Return which classes occur, and how the network confuses them.

    Heads that were fitted to these labels (out-of-fold probabilities) know the shares of the classes.

    Args:
        inputs: the inputs.
        weight: of the network's log-probabilities (its inverse temperature). A network that is too sure says too little
            of classes that it hardly confuses.
    """
    counts = inputs.counts
    labelled = counts > 0
    sums = np.zeros((inputs.classes, inputs.classes))
    for start in range(0, len(inputs), _TILE):
        p = softmax(weight * inputs.log_probabilities(slice(start, start + _TILE)), axis=1)
        # Samples count by how likely they are of the class, also those that are predicted as another one.
        sums += p.T @ p
    # A little of every class, so that each wrong label is possible.
    confusion = (sums + 1e-4 / inputs.classes * np.maximum(sums.sum(axis=1, keepdims=True), 1)) * labelled
    np.fill_diagonal(confusion, 0)
    confusion /= np.maximum(confusion.sum(axis=1, keepdims=True), 1e-300)
    elsewhere = inputs.probabilities is None
    rare = (counts < _RARE * len(inputs) / inputs.classes) & labelled
    return Classes(confusion, labelled, ~labelled & elsewhere, rare & elsewhere)
