"""The accuracy of the network as a sentence and as a record, and what makes it doubtful."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradmeter.report.probabilities import percent

LEARNED = 0.998
"""A network that is right on this share of the samples has probably learned from them."""
FEW = 200
"""With fewer samples, the accuracy says little."""
# With so few samples, what the network predicts for a class says nothing about the order of the classes.
_FEW_OF_CLASS = 20
# A class that is predicted for more of the samples with another label is seldom predicted for them by chance.
_CLEAR = 2 / 3


def accuracy_sentence(counts: tuple[int, int]) -> str:
    """Return the accuracy as a sentence, from the numbers of correct and of labelled predictions."""
    correct, labelled = counts
    return f"{percent(correct / labelled, 1)} % of {labelled:,} predictions are correct."


def accuracy_record(counts: tuple[int, int]) -> dict[str, int | float]:
    """Return the accuracy as a record, from the numbers of correct and of labelled predictions."""
    correct, labelled = counts
    return {"labelled": labelled, "right": correct, "accuracy": correct / labelled}


def doubts(predictions: NDArray[np.int64], labels: NDArray[np.int64], names: Sequence[str] | None) -> list[str]:
    """Return sentences on why labelled samples may not show how often the network is right on new ones."""
    if len(labels) < FEW:
        return []
    notes = []
    if (accuracy := float((predictions == labels).mean())) >= LEARNED:
        notes.append(
            f"{percent(accuracy, 2)} % of the predictions are correct; if the network was trained on these samples, "
            "P(correct) and the risk guarantee do not hold for new ones: give samples that it has not seen"
        )
    # Of two classes or more, and the other way round, too: a network that guesses, or that predicts one class too
    # often, is no sign of another order.
    of_predictions = {(label, most) for most, label, _ in contradicted(labels, predictions)}
    swapped = [pair for pair in contradicted(predictions, labels) if pair[:2] in of_predictions and pair[2] > _CLEAR]
    if len(swapped) > 1:
        label, most, share = max(swapped, key=lambda pair: pair[2])
        shown = (label, most) if names is None else (names[label], names[most])
        notes.append(
            f"the network predicts {shown[1]} for {percent(share, 0)} % of the samples with the label {shown[0]}, and "
            "mostly for these: the classes are probably in another order than the network's outputs; check the order "
            "of --classes, or the numbers of the labels if they have no names"
        )
    return notes


def contradicted(predictions: NDArray[np.int64], labels: NDArray[np.int64]) -> list[tuple[int, int, float]]:
    """Return the labels that most predictions contradict: (label, class predicted most often, its share)."""
    found = []
    for label, samples in zip(*np.unique(labels, return_counts=True), strict=True):
        if samples < _FEW_OF_CLASS:
            continue
        predicted, counts = np.unique(predictions[labels == label], return_counts=True)
        most = int(counts.argmax())
        if predicted[most] != label and 2 * counts[most] > samples:
            found.append((int(label), int(predicted[most]), float(counts[most] / samples)))
    return found
