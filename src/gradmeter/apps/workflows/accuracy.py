"""The accuracy of the network as a sentence and as a record."""

from __future__ import annotations

from gradmeter.report.probabilities import percent


def accuracy_sentence(counts: tuple[int, int]) -> str:
    """Return the accuracy as a sentence, from the numbers of correct and of labelled predictions."""
    correct, labelled = counts
    return f"{percent(correct / labelled, 1)} % of {labelled:,} predictions are correct."


def accuracy_record(counts: tuple[int, int]) -> dict[str, int | float]:
    """Return the accuracy as a record, from the numbers of correct and of labelled predictions."""
    correct, labelled = counts
    return {"labelled": labelled, "right": correct, "accuracy": correct / labelled}
