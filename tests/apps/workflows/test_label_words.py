"""What `gradmeter labels` says about shares and numbers of labels."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradmeter.apps.workflows.label_notes import notes_on
from gradmeter.apps.workflows.label_words import answer, estimate, labels, share
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.labels import LabelReadings
from gradmeter.trust.reads import ReadsChoice


@pytest.mark.parametrize(
    ("value", "count", "expected"),
    [
        (2e-6, 30, "less than 1"),
        (0.0, 30, "0"),
        (0.1, 30, "10"),
        (0.00816, 2000, "0.82"),
        (0.00001, 2000, "less than 0.01"),
        (0.0000123, 1_000_000, "0.0012"),
        (1.0, 5, "100"),
    ],
)
def test_a_share_has_no_more_decimals_than_its_labels_resolve(value: float, count: int, expected: str) -> None:
    assert share(value, count) == expected


@pytest.mark.parametrize("count", [300, 60])
def test_a_network_that_contradicts_many_labels_is_mentioned(count: int) -> None:
    labels = np.arange(count) % 3
    for agreeing, expected in ((0.47, True), (0.66, True), (0.75, False)):
        right = np.arange(count) < agreeing * count
        logits = np.eye(3)[np.where(right, labels, (labels + 1) % 3)]
        of_network = LabelReadings(labels, logits, logits)
        of_heads = LabelReadings(labels, np.eye(3)[labels], logits, probabilities=logits)
        for inputs in (of_network, of_heads):
            notes = notes_on(inputs, None, conflicts=0)
            assert any("may lie far outside the interval" in note for note in notes) is expected


def test_one_label_is_not_many() -> None:
    assert [labels(count) for count in (0, 1, 2, 3000)] == ["0 labels", "1 label", "2 labels", "3,000 labels"]


def checked(rate: Interval, skipped: int, **reasons: int) -> Any:
    return SimpleNamespace(
        rate=rate,
        verdicts=[None] * 30,
        reasons=reasons,
        learned=False,
        skipped=[None] * skipped,
        reads="forward",
        choice=None,
    )


def test_the_answer_agrees_in_number() -> None:
    lines = answer(checked(Interval(2e-6, 0.0, 0.1157), 1, ambiguous=1))
    assert lines[0] == ("Between 0 and 12 % of 30 labels are wrong (95 % interval): 0 to 3. The likeliest number is 0.")
    assert lines[1] == "Worth a look: 1 label (ambiguous: 1)."
    assert lines[3] == "Skipped 1 sample that cannot be read or has no label."
    assert answer(checked(Interval(1 / 30, 0.0, 0.1), 0, ambiguous=0))[:2] == [
        "About 3 % of 30 labels are wrong, 95 % interval 0 to 10 %: 1 label (0 to 3).",
        "No label is worth a look.",
    ]


def test_no_wrong_label_is_only_the_likeliest_number() -> None:
    assert estimate(Interval(0.0, 0.0, 0.064), 2194) == "0.00 to 6.40"
    assert estimate(Interval(0.01, 0.0, 0.064), 2194) == "1.00"
    assert estimate(Interval(0.0, 0.0, 0.001), 30) == "0"
    assert estimate(Interval(0.03, 0.0, 0.9), 1000) == "0.0 to 90.0"
    assert answer(checked(Interval(0.1, 0.0, 0.9), 0))[0] == (
        "Between 0 and 90 % of 30 labels are wrong (95 % interval): 0 to 27."
    )
    assert answer(checked(Interval(0.0, 0.0, 0.001), 0))[0].startswith("About 0 % of 30 labels are wrong, 95 %")


def test_why_gradients_do_not_count() -> None:
    result = checked(Interval(0.1, 0.0, 0.2), 0)
    result.choice = ReadsChoice("forward", "they do not help")
    assert answer(result)[-1] == "Reads the forward pass only: they do not help."
    result.reads = "gradients"
    assert "judges by the forward pass only: they do not help." in answer(result)[-1]
