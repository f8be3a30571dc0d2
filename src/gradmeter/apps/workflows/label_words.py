"""The result of `gradmeter labels` in sentences."""

from __future__ import annotations

import math

from gradmeter.apps.workflows.labels import CheckedLabels
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.labels.rate import is_told
from gradmeter.trust.reads import FORWARD


def answer(checked: CheckedLabels) -> list[str]:
    """Return the result in sentences."""
    count = len(checked.verdicts)
    doubtful = sum(checked.reasons.values())
    reasons = ", ".join(f"{reason}: {number:,}" for reason, number in checked.reasons.items())
    judges = (
        "Judged out of fold, by new last layers on the network's embedding, which learned from these labels."
        if checked.learned
        else "Judged by the network as it is, which must not have been trained on these labels (else give --learned)."
    )
    lines = [
        wrong_labels(checked.rate, count),
        f"Worth a look: {labels(doubtful)} ({reasons})." if doubtful else _nothing(checked.rate, count),
        judges,
    ]
    if checked.choice is not None:
        what = "the forward pass only" if checked.reads == FORWARD else "gradients and the forward pass"
        unused = ", but judges by the forward pass only" if checked.choice.reads != checked.reads else ""
        lines.append(f"Reads {what}{unused}: {checked.choice.reason}.")
    if skipped := len(checked.skipped):
        cannot = "that cannot be read or has no label" if skipped == 1 else "that cannot be read or have no label"
        lines.append(f"Skipped {skipped:,} sample{'s' * (skipped > 1)} {cannot}.")
    return lines


def _nothing(rate: Interval, count: int) -> str:
    """Say that no label is in the list, although some may be wrong."""
    return "No single label stands out." if is_open(rate, count) else "No label is worth a look."


def wrong_labels(rate: Interval, count: int) -> str:
    """Say in a sentence how many labels are wrong."""
    parts = rate.value, rate.low, rate.high
    value, low, high = (share(part, count) for part in parts)
    wrong, least, most = (round(part * count) for part in parts)
    if is_open(rate, count):
        likeliest = "" if wrong else " The likeliest number is 0."
        interval = f"{least:,} to {most:,}.{likeliest}"
        return f"Between {low} and {high} % of {labels(count)} are wrong (95 % interval): {interval}"
    about = value.capitalize() if value.startswith("less") else f"About {value}"
    return (
        f"{about} % of {labels(count)} are wrong, 95 % interval {low} to {high} %: {labels(wrong)} ({least:,} to "
        f"{most:,})."
    )


def estimate(rate: Interval, count: int) -> str:
    """The share of wrong labels in percent, as an interval if a single number would mislead."""
    if is_open(rate, count):
        return f"{share(rate.low, count)} to {share(rate.high, count)}"
    return share(rate.value, count)


def is_open(rate: Interval, count: int) -> bool:
    """Whether the interval says nothing, or the likeliest number of wrong labels is 0 but the interval holds others."""
    return not is_told(rate) or round(rate.value * count) == 0 < round(rate.high * count)


def share(value: float, count: int) -> str:
    """A share of labels in percent, with as many decimals as `count` labels can resolve; "less than 0.01" if tiny."""
    decimals = max(0, math.ceil(math.log10(max(count, 1))) - 2)
    smallest = 10.0**-decimals
    if 0 < 100 * value < smallest / 2:
        return f"less than {smallest:.{decimals}f}"
    return f"{100 * value:.{decimals}f}"


def labels(count: int) -> str:
    """A number of labels in words."""
    return "1 label" if count == 1 else f"{count:,} labels"
