"""Signs that labelled samples do not show how often the network is right on new ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from gradmeter.names import listed
from gradmeter.trust.near_copies import similar_errors

LEARNED = 0.998
"""A network that is right on this share of the samples has probably learned from them."""
FEW = 200
"""With fewer samples, the accuracy says little."""
# Few networks are right on more new samples. That one of them is so often right by chance must be unlikely.
_BEST, _UNLIKELY = 0.995, 0.05
# With so few samples, what the network predicts for a class says nothing about the order of the classes.
_FEW_OF_CLASS = 20
# Fewer predictions of classes that no sample has make little difference.
_SOME = 5
# A class that is predicted for more of the samples with another label is seldom predicted for them by chance.
_CLEAR = 2 / 3


def doubts(
    predictions: NDArray[np.int64], labels: NDArray[np.int64], outputs: NDArray[np.float64] | None = None
) -> list[str]:
    """Return warnings that labelled samples, all different, may not show how often the network is right on new ones.

    Args:
        predictions: [N] predicted classes.
        labels: [N] classes.
        outputs: [N, D] statistics of the layers' outputs; None if they were not read.
    """
    if len(labels) < FEW:
        return []
    notes, right, count = order_doubts(predictions, labels), int((predictions == labels).sum()), len(labels)
    if right >= LEARNED * count and binom.sf(right - 1, count, _BEST) < _UNLIKELY:
        notes.append(
            f"{100 * right / count:.2f} % of the predictions are correct; if the network was trained on these samples, "
            "P(correct) and the risk guarantee do not hold for new ones: give samples that it has not seen"
        )
    if outputs is not None and (similar := similar_errors(predictions, labels, outputs)):
        notes.append(
            f"for {100 * similar:.0f} % of the wrong predictions, the most similar sample is wrong in the same way, "
            "as if there were several images of one patient, object or scene; if so, P(correct) does not hold for "
            "new ones: give one of each (gradmeter fit --one-per)"
        )
    return notes


def absent_doubts(predictions: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> list[str]:
    """Return a warning, in a list, that the network predicts classes that no sample has, though samples are many.

    Args:
        predictions: [N] predicted classes.
        labels: [N] classes.
        classes: number of the network's classes.
    """
    absent, counts = np.unique(predictions[~np.isin(predictions, labels)], return_counts=True)
    if len(labels) < max(FEW, _FEW_OF_CLASS * classes) or counts.sum() < _SOME:
        return []
    return [
        f"for {counts.sum():,} of {len(labels):,} known inputs, the network predicts a class that none of them has "
        f"({listed(absent.tolist(), 3)}); as all of these predictions are wrong, P(correct) is too low where these "
        "classes occur: give inputs of all classes"
    ]


def order_doubts(predictions: NDArray[np.int64], labels: NDArray[np.int64]) -> list[str]:
    """Return a warning, in a list, that labels may number the classes in another order than the network."""
    if len(labels) < FEW:
        return []
    # Of two classes or more, and the other way round, too: a network that guesses, or that predicts one class too
    # often, is no sign of another order.
    of_predictions = {(label, most) for most, label, _ in contradicted(labels, predictions)}
    swapped = [pair for pair in contradicted(predictions, labels) if pair[:2] in of_predictions and pair[2] > _CLEAR]
    if len(swapped) < 2:
        return []
    label, most, share = max(swapped, key=lambda pair: pair[2])
    return [
        f"the network predicts class {most} for {100 * share:.0f} % of the samples with label {label}, and mostly for "
        "these, so the labels probably number the classes in another order than the network's outputs; check the "
        "numbers of the labels, or the order of the class names"
    ]


def contradicted(predictions: NDArray[np.int64], labels: NDArray[np.int64]) -> list[tuple[int, int, float]]:
    """Return the labels that most predictions contradict: (label, class predicted most often, its share)."""
    contradictions = []
    for label, samples in zip(*np.unique(labels, return_counts=True), strict=True):
        if samples < _FEW_OF_CLASS:
            continue
        predicted, counts = np.unique(predictions[labels == label], return_counts=True)
        most = int(counts.argmax())
        if predicted[most] != label and 2 * counts[most] > samples:
            contradictions.append((int(label), int(predicted[most]), float(counts[most] / samples)))
    return contradictions
