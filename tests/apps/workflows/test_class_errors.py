"""Errors of the predictions of each class: counts, order, and the classes that exceed a risk."""

import numpy as np
import pytest
from scipy.stats import beta

from gradmeter.apps.workflows.class_errors import ClassErrors, class_errors, class_grid
from gradmeter.apps.workflows.wording import above_risk


def errors(name: str, accepted: int, wrong: int) -> ClassErrors:
    return ClassErrors(name, 2 * accepted + 1, accepted, 0.75, accepted, wrong)


def test_counts_of_each_predicted_class() -> None:
    predictions = np.array([0, 0, 0, 2, 2, 7])
    correct = np.array([True, False, True, False, False, True])
    p_correct = np.array([0.9, 0.2, 0.7, 0.5, 0.6, 1.0])
    accepted = np.array([True, True, False, False, True, False])
    counted = class_errors(str, predictions, correct, p_correct, accepted)
    assert {given.name: (given.predictions, given.right, given.accepted, given.errors) for given in counted} == {
        "0": (3, 2, 2, 1),
        "2": (2, 0, 1, 1),
        "7": (1, 1, 0, 0),
    }
    assert {given.name: given.p_correct for given in counted} == pytest.approx({"0": 0.6, "2": 0.55, "7": 1.0})
    everything = class_errors(str, predictions, correct, p_correct, None)
    assert {given.name: (given.accepted, given.count, given.errors) for given in everything} == {
        "0": (None, 3, 1),
        "2": (None, 2, 2),
        "7": (None, 1, 0),
    }


def test_the_class_that_is_surely_worst_is_first() -> None:
    wrong = np.array([True] * 1 + [True, False] * 20 + [False] * 5)
    predictions = np.repeat([0, 1, 2], [1, 40, 5])  # 1 of 1, 20 of 40, none of 5
    counted = class_errors(str, predictions, ~wrong, np.ones(46), np.ones(46, np.bool_))
    assert [given.name for given in counted] == ["1", "0", "2"]
    assert counted[0].interval() == pytest.approx((beta.ppf(0.025, 20, 21), beta.ppf(0.975, 21, 20)))


def test_only_classes_that_clearly_exceed_the_risk_are_named() -> None:
    usual = [errors(f"class {number}", 100, 5) for number in range(9)]
    assert above_risk([*usual, errors("few", 3, 1), errors("none", 0, 0)], 0.05) == []
    (sentence,) = above_risk([errors("cat", 32, 7), *usual], 0.05)
    assert sentence == (
        "More than 5 % are wrong among the accepted predictions of class cat (21.9 %, 7 of 32): the guarantee is for "
        "all classes together."
    )
    # Ten errors of a hundred are unlikely enough (2.8 %), nine are not (6.3 %). An empty class does not count.
    assert above_risk([errors("nine", 100, 9), errors("none", 0, 0)], 0.05) == []
    (sentence,) = above_risk([errors("\x1bten", 100, 10), errors("none", 0, 0)], 0.05)
    assert r"\x1bten (10.0 %" in sentence
    # Each of 1,000 classes is as likely to exceed the risk by chance; the worst one does.
    by_chance = np.random.default_rng(0).binomial(50, 0.05, 1000)
    assert above_risk([errors("a", 50, wrong) for wrong in by_chance.tolist()], 0.05) == []


def test_a_table_of_many_classes_shows_the_first() -> None:
    grid = class_grid([errors(f"class {number}", 100, 5) for number in range(30)])
    assert len(grid.blocks[0].rows) == 20
    assert "20 of 30 predicted classes" in grid.notes[0]
    assert [cell.text for cell in grid.blocks[0].rows[0][1]] == ["201", "75.0", "49.8", "100", "5.0"]
    none = class_grid([errors("cat", 0, 0)]).blocks[0].rows[0][1]
    assert [cell.text for cell in none][-2:] == ["0", "\N{EN DASH}"]
    without = class_grid([ClassErrors("cat", 4, 3, 0.5, None, 1)])
    assert [cell.text for cell in without.blocks[0].rows[0][1]] == ["4", "50.0", "75.0"]
    assert "brackets" not in without.notes[0]
