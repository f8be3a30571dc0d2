"""How many predictions are right, of how many that have a label: in a sentence, and as a record."""

from __future__ import annotations

from gradmeter.report.probabilities import percent


def answered(right: tuple[int, int]) -> str:
    """In a sentence."""
    return f"{percent(right[0] / right[1], 1)} % of {right[1]:,} predictions are right."


def answered_record(right: tuple[int, int]) -> dict[str, int | float]:
    """As a record."""
    return {"labelled": right[1], "right": right[0], "accuracy": right[0] / right[1]}
