import numpy as np
import pytest
from numpy.typing import NDArray

from gradmeter.trust.doubts import absent_doubts, doubts

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 1_000)
# One in ten is of class 1.
RARE = (RNG.random(1_000) < 0.1).astype(np.int64)
# Right for 70 %.
PREDICTIONS = np.where(RNG.random(1_000) < 0.6, LABELS, RNG.integers(0, 4, 1_000))


def test_nothing_is_said_of_a_network_that_errs() -> None:
    assert doubts(PREDICTIONS, LABELS) == []


def test_a_network_that_is_always_right_may_have_learned_the_samples() -> None:
    (note,) = doubts(LABELS, LABELS)
    assert "trained on these samples" in note


@pytest.mark.parametrize(("samples", "wrong"), [(100, 0), (500, 0), (800, 1), (10_000, 30)])
def test_a_good_network_may_be_right_so_often_on_new_samples(samples: int, wrong: int) -> None:
    labels = RNG.integers(0, 4, samples)
    assert doubts((labels + (np.arange(samples) < wrong)) % 4, labels) == []


def test_predictions_of_classes_without_labels() -> None:
    known = LABELS < 2
    predictions, labels = PREDICTIONS[known], LABELS[known]
    (note,) = absent_doubts(predictions, labels, 4)
    assert f"{(predictions > 1).sum()} of {len(labels)} known inputs" in note
    assert "(2, 3)" in note
    assert absent_doubts(PREDICTIONS, LABELS, 4) == []
    # Outputs that are not used.
    assert absent_doubts(labels, labels, 10) == []
    # Of so many classes, some are missing by chance.
    assert absent_doubts(predictions, labels, 1_000) == []
    assert absent_doubts(predictions[:100], labels[:100], 4) == []


def test_classes_in_another_order() -> None:
    (note,) = doubts((PREDICTIONS + 1) % 4, LABELS)
    assert "another order" in note
    label, prediction = int(note.split("label ")[1][0]), int(note.split("class ")[1][0])
    assert prediction == (label + 1) % 4


@pytest.mark.parametrize(
    "predictions",
    [
        np.where(RNG.random(1_000) < 0.7, 0, RARE),  # often the commonest class
        np.ones(1_000, np.int64),  # always the rare class
        np.where(RNG.random(1_000) < 0.55, 1 - RARE, RARE),
    ],
)
def test_a_bad_network_is_no_sign_of_another_order(predictions: NDArray[np.int64]) -> None:
    assert doubts(predictions, RARE) == []


def test_a_network_that_guesses_is_no_sign_of_another_order() -> None:
    assert not any(doubts(RNG.integers(0, 2, 200), RNG.integers(0, 2, 200)) for _ in range(100))
