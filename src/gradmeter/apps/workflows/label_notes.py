"""Sentences on data whose labels `gradmeter labels` judges badly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradmeter.names import listed
from gradmeter.report.probabilities import percent
from gradmeter.trust.doubts import FEW, LEARNED, contradicted
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.labels import LabelReadings
from gradmeter.trust.labels.rate import is_told

# Classes named in a note.
_NAMED = 5
# Where the network, or new last layers, agree with fewer labels, the noise model may not describe their mistakes.
_WEAK = 0.7
# Rows that are in memory together.
_TILE = 4096


def notes_on(inputs: LabelReadings, names: tuple[str, ...] | None, *, conflicts: int) -> tuple[str, ...]:
    """Return sentences on data that the check judges badly.

    Args:
        inputs: the labels and what was read; with probabilities, out-of-fold heads judge, and not the network itself.
        names: names of the classes; None if they have none.
        conflicts: number of inputs that occur with different labels.
    """
    notes = []
    labels = np.asarray(inputs.labels)
    counts = inputs.counts

    def named(classes: NDArray[np.int64]) -> str:
        return listed(classes.tolist() if names is None else [names[number] for number in classes], _NAMED)

    if len(labels) < FEW:
        notes.append(f"{len(labels):,} labels are few; P(the label is right) and the share of wrong labels are rough")
    if len(absent := np.flatnonzero(counts == 0)):
        notes.append(f"no sample has the label {named(absent)}")
    if len(single := np.flatnonzero(counts == 1)):
        each = "the label" if len(single) == 1 else "each of the labels"
        notes.append(f"only one sample has {each} {named(single)}; no neighbour can confirm it")
    if conflicts:
        twice = "1 input occurs" if conflicts == 1 else f"{conflicts:,} inputs occur"
        least = "at least one of them" if conflicts == 1 else "at least one of each"
        notes.append(f"{twice} more than once with different labels; {least} is wrong")
    learned = inputs.probabilities is not None
    outputs = inputs.logits if inputs.probabilities is None else inputs.probabilities
    predictions = np.concatenate(
        [outputs[start : start + _TILE].argmax(axis=1) for start in range(0, len(labels), _TILE)]
    )
    agreement = float((predictions == labels).mean())
    if agreement < _WEAK:
        judge = "new last layers that did not learn them agree" if learned else "the network agrees"
        notes.append(
            f"{judge} with only {percent(agreement, 0)} % of the labels; if predictions are often certain and wrong, "
            "the share of wrong labels may lie far outside the interval, on either side: check more labels, or use a "
            "network that agrees with more of them"
        )
    if not learned:
        if agreement >= LEARNED and len(labels) >= FEW:
            notes.append(
                f"the network agrees with {percent(agreement, 2)} % of the labels; if it was trained on them, give "
                "--learned, or wrong labels that it learned stay hidden"
            )
        notes += [
            f"the network predicts {named(np.array([most]))} for {percent(share, 0)} % of the samples with the label "
            f"{named(np.array([label]))}; check the preprocessing, and whether --classes has the order of the "
            "network's outputs: the check may take a label that nearly always contradicts the network for right"
            for label, most, share in contradicted(predictions, labels)[:_NAMED]
        ]
    return tuple(notes)


def note_on_rate(rate: Interval) -> tuple[str, ...]:
    """Return a sentence if the labels do not tell how many of them are wrong."""
    if is_told(rate):
        return ()
    return (
        "the share of wrong labels cannot be told from these labels and this network: check more labels, or use a "
        "network that agrees with more of them",
    )
