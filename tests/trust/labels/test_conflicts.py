"""At most one label of an input is right."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.labels import LabelCheck, LabelReadings
from gradmeter.trust.labels.conflicts import Conflicts
from trust.labels.clusters import clusters


def readings(labels: list[int], contents: list[int] | None) -> LabelReadings:
    numbers = None if contents is None else np.array(contents, np.uint64)
    return LabelReadings(np.array(labels), np.zeros((len(labels), 4)), np.zeros((len(labels), 2)), contents=numbers)


def test_labels_of_an_input_exclude_each_other() -> None:
    p_right = np.array([0.9, 0.6, 0.99, 0.3, 0.8])
    conflicts = Conflicts.of(readings([0, 1, 2, 0, 2], [7, 7, 5, 9, 7]))
    # All outcomes of independent verdicts on the labels of input 7, of which those with two right ones are impossible.
    odds = p_right / (1 - p_right)
    weights = np.array([1, odds[0], odds[1], odds[4]])
    expected = p_right.copy()
    expected[[0, 1, 4]] = weights[1:] / weights.sum()
    judged = expit(-conflicts.judged(-logit(p_right)))
    assert judged == pytest.approx(expected)
    assert judged[[0, 1, 4]].sum() < 1
    assert conflicts.inputs.tolist() == [1]
    assert conflicts.least_wrong == 2


def test_inputs_with_different_numbers_of_labels() -> None:
    drawn = np.random.default_rng(0)
    labels, contents = drawn.integers(0, 4, 60), drawn.integers(0, 25, 60)
    log_odds = drawn.normal(0, 3, 60)
    odds: list[dict[int, float]] = [{} for _ in range(25)]
    for content, label, right in zip(contents.tolist(), labels.tolist(), np.exp(-log_odds).tolist(), strict=True):
        odds[content][label] = max(odds[content].get(label, 0.0), right)
    assert {1, 2, 3} <= {len(of_input) for of_input in odds}
    others = [
        sum(right for other, right in odds[content].items() if other != label)
        for content, label in zip(contents.tolist(), labels.tolist(), strict=True)
    ]
    conflicts = Conflicts.of(readings(labels.tolist(), contents.tolist()))
    np.testing.assert_allclose(conflicts.judged(log_odds), log_odds + np.log1p(others), atol=1e-12)


def test_the_same_label_of_a_copy_is_no_conflict() -> None:
    log_odds = -np.array([3.0, 2.0, 1.0])
    copies = Conflicts.of(readings([1, 1, 2], [4, 4, 6]))
    np.testing.assert_array_equal(copies.judged(log_odds), log_odds)
    unknown = Conflicts.of(readings([1, 1, 2], None))
    np.testing.assert_array_equal(unknown.judged(log_odds), log_odds)
    assert copies.least_wrong == unknown.least_wrong == 0
    # Two copies have one label and a third has another: the surest verdict on a label counts once.
    judged = expit(-Conflicts.of(readings([1, 1, 2], [4, 4, 4])).judged(log_odds))
    assert judged == pytest.approx(np.exp([3, 2, 1]) / (1 + np.exp([3, 2, 1]) + np.exp([1, 1, 3])))


def test_odds_that_are_as_sure_as_can_be() -> None:
    conflicts = Conflicts.of(readings([0, 1], [3, 3]))
    assert expit(-conflicts.judged(np.array([-800.0, -800.0]))) == pytest.approx([0.5, 0.5])
    assert expit(-conflicts.judged(np.array([-800.0, 900.0]))) == pytest.approx([1.0, 0.0])


def test_the_share_of_wrong_labels_is_not_below_the_least_possible_one() -> None:
    conflicts = Conflicts.of(readings([0, 1, 1, 2], [3, 3, 3, 5]))
    assert conflicts.least_wrong == 1
    raised = conflicts.raised(Interval(0.125, 0.0, 0.5))
    assert raised == Interval(0.25, 0.25, 0.625)
    assert conflicts.raised(Interval(0.0, 0.0, 0.9)).high == 1
    assert conflicts.raised(Interval(0.3, 0.26, 0.4)) == Interval(0.3, 0.26, 0.4)


def test_conflicting_labels_are_worth_a_look() -> None:
    inputs, _ = clusters(600, 0)
    twice = np.concatenate([np.arange(600), np.arange(5)])
    labels = np.asarray(inputs.labels)[twice]
    labels[600:] = (labels[600:] + 1) % 3
    contents = np.arange(600, dtype=np.uint64)[twice]
    copied = replace(
        inputs, labels=labels, logits=inputs.logits[twice], embedding=inputs.embedding[twice], contents=contents
    )
    verdicts = LabelCheck().fit_predict(copied)
    assert (verdicts.reason[600:] == "wrong label").all()
    assert (verdicts.p_label[:5] > 0.5).all()
    assert verdicts.rate.low >= 5 / 605
    assert {*verdicts.rank[600:].tolist()} == {1, 2, 3, 4, 5}
