import numpy as np
import pytest

from gradmeter.report.comparison import difference_grid, estimate_grid
from gradmeter.trust.evaluation.comparison import ALL, MEASURES, WRONG, Comparison, Judged, compare
from gradmeter.trust.evaluation.resampling import Interval

ESTIMATES = {
    ("auroc", WRONG, "P(correct)"): Interval(0.98126, 0.975, 0.9901),
    ("auroc", WRONG, "softmax"): Interval(0.97, 0.96, 0.98),
    ("auroc", WRONG, "energy"): Interval(0.5, 0.4, 0.6),
    ("aurc", WRONG, "P(correct)"): Interval(0.02, 0.01, 0.03),
    ("aurc", WRONG, "softmax"): Interval(0.015, 0.01, 0.02),
    ("aurc", WRONG, "energy"): Interval(0.015, 0.01, 0.02),
    ("nll", WRONG, "P(correct)"): Interval(0.12345, 0.1, 1.2),
    ("nll", WRONG, "softmax"): Interval(2.5, 2, 3),
}


def rows(grid, block=0):
    return dict(grid.blocks[block].rows)


def test_estimates_have_units_intervals_and_arrows():
    grid = estimate_grid(Comparison(ESTIMATES, {}, 0.95))
    assert grid.caption == "Measures, with 95 % intervals"
    assert grid.columns == ("P(correct)", "softmax", "energy")
    assert list(rows(grid)) == ["AUROC\N{NO-BREAK SPACE}↑", "AURC\N{NO-BREAK SPACE}↓", "NLL\N{NO-BREAK SPACE}↓"]
    cell = rows(grid)["AUROC\N{NO-BREAK SPACE}↑"][0]
    assert (cell.text, cell.paper) == ("98.13", "[97.50, 99.01]")
    cell = rows(grid)["NLL\N{NO-BREAK SPACE}↓"][0]
    assert (cell.text, cell.paper) == ("0.123", "[0.100, 1.200]")


def test_the_best_of_a_row_is_bold_and_what_equals_it():
    grid = estimate_grid(Comparison(ESTIMATES, {}, 0.95))
    assert {name: [cell.bold for cell in line] for name, line in rows(grid).items()} == {
        "AUROC\N{NO-BREAK SPACE}↑": [True, False, False],
        "AURC\N{NO-BREAK SPACE}↓": [False, True, True],
        "NLL\N{NO-BREAK SPACE}↓": [True, False, False],
    }


def test_what_a_method_lacks_is_an_empty_cell():
    cell = rows(estimate_grid(Comparison(ESTIMATES, {}, 0.95)))["NLL\N{NO-BREAK SPACE}↓"][2]
    assert (cell.text, cell.paper, cell.bold) == ("", "", False)


def test_there_is_a_block_for_each_column():
    estimates = {("auroc", column, "ours"): Interval(0.5, 0.4, 0.6) for column in (WRONG, "letters", ALL)}
    assert [block.title for block in estimate_grid(Comparison(estimates, {}, 0.95)).blocks] == [
        "Wrong predictions for known inputs",
        "Unknown inputs: letters",
        "Wrong predictions and unknown inputs together",
    ]


def test_differences_are_bold_where_the_interval_excludes_zero():
    differences = {
        ("auroc", WRONG, "softmax"): Interval(0.0112, 0.004, 0.02),
        ("auroc", WRONG, "energy"): Interval(0.48, -0.001, 0.6),
        ("aurc", WRONG, "softmax"): Interval(0.005, 0.0, 0.01),
        ("aurc", WRONG, "energy"): Interval(-0.00001, -0.02, -0.00002),
        ("nll", WRONG, "softmax"): Interval(-2.37655, -3, -1),
    }
    grid = difference_grid(Comparison(ESTIMATES, differences, 0.9))
    assert grid.caption == "P(correct) minus the other, with paired 90 % intervals"
    assert grid.columns == ("\N{MINUS SIGN} softmax", "\N{MINUS SIGN} energy")
    assert {name: [(cell.text, cell.paper, cell.bold) for cell in line] for name, line in rows(grid).items()} == {
        "AUROC\N{NO-BREAK SPACE}↑": [("+1.12", "[+0.40, +2.00]", True), ("+48.00", "[-0.10, +60.00]", False)],
        # A value that rounds to zero has no minus sign.
        "AURC\N{NO-BREAK SPACE}↓": [("+0.50", "[+0.00, +1.00]", False), ("+0.00", "[-2.00, +0.00]", True)],
        "NLL\N{NO-BREAK SPACE}↓": [("-2.377", "[-3.000, -1.000]", True), ("", "", False)],
    }


def test_an_interval_that_is_unknown_excludes_nothing():
    key = ("auroc", WRONG, "softmax")
    grid = difference_grid(Comparison(ESTIMATES, {key: Interval(0.1, np.nan, np.nan)}, 0.95))
    assert [cell.bold for cell in rows(grid)["AUROC\N{NO-BREAK SPACE}↑"]] == [False]


def test_a_difference_of_few_inputs_is_not_bold():
    key = ("auroc", WRONG, "softmax")
    grid = difference_grid(Comparison(ESTIMATES, {key: Interval(0.2, 0.1, 0.3)}, 0.95, {WRONG: 3}))
    assert [cell.bold for cell in rows(grid)["AUROC\N{NO-BREAK SPACE}↑"]] == [False]


@pytest.mark.parametrize("stated", [{}, {"ours": np.tile([0.75, 0.5], 50)}])
def test_measures_that_no_method_has_are_left_out(stated):
    score = np.tile([0.0, 1.0], 50)
    judged = Judged(score == 0, np.zeros(100, np.int64), (), {"ours": score, "other": -score}, stated)
    comparison = compare(judged, repetitions=5)
    expected = [measure.name for key, measure in MEASURES.items() if stated or key not in ("brier", "nll", "ece")]
    assert [name[:-2] for name in rows(estimate_grid(comparison))] == expected
    # `other` has no probabilities, so these measures have no differences.
    assert [name[:-2] for name in rows(difference_grid(comparison))] == [
        measure.name for measure in list(MEASURES.values())[:11]
    ]
