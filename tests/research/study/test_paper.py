from collections import Counter

import pytest

from gradmeter.errors import InputError
from gradmeter.research.study.paper import PAPER_BASE_RATES, PAPER_TABLES, paper_cell, paper_table

MEASURES = ("auroc", "aupr_in", "aupr_out")
COLUMNS = ("wrong", "letters", "cifar10", "uniform")
LAYOUT = {
    1: (("softmax", "entropy", "l1", "l2", "min", "max", "std"), COLUMNS),
    2: (("softmax", "entropy", "glm", "lasso", "ridge", "elastic_net"), COLUMNS),
    3: (
        ("wrong", "omniglot", "notmnist", "cifar10", "normal", "uniform", "all"),
        ("entropy", "softmax", "nn_a", "nn_b", "nn_c", "nn_d"),
    ),
}
# (table, measure, row, column): the number in the scan, and the likely number.
MISREAD = {
    (1, "aupr_out", "entropy", "wrong"): (95.56, 35.56),
    (1, "aupr_out", "l1", "wrong"): (95.28, 35.28),
    (1, "aupr_out", "l2", "wrong"): (95.30, 35.30),
    (1, "aupr_out", "min", "wrong"): (95.36, 35.36),
    (1, "aupr_out", "max", "wrong"): (95.32, 35.32),
    (1, "aupr_out", "std", "wrong"): (95.30, 35.30),
    (1, "aupr_in", "min", "letters"): (95.20, 98.42),
    (1, "aupr_in", "max", "letters"): (95.03, 98.38),
    (1, "aupr_in", "std", "letters"): (95.04, 98.42),
    (2, "aupr_out", "entropy", "wrong"): (95.56, 35.56),
    (3, "aupr_out", "notmnist", "softmax"): (14.59, 74.59),
}


@pytest.mark.parametrize("table", PAPER_TABLES)
def test_every_cell_occurs_once_in_the_papers_order(table):
    rows, columns = LAYOUT[table]
    expected = [(measure, row, column) for measure in MEASURES for row in rows for column in columns]
    assert [(cell.measure, cell.row, cell.column) for cell in paper_table(table)] == expected


def test_exactly_the_misread_cells_are_corrected():
    corrected = {
        (cell.table, cell.measure, cell.row, cell.column): (cell.scanned, cell.value)
        for table in PAPER_TABLES
        for cell in paper_table(table)
        if cell.value != cell.scanned
    }
    assert corrected == MISREAD


@pytest.mark.parametrize(
    ("key", "value", "sem"),
    [
        ((1, "auroc", "max", "uniform"), 87.05, None),
        ((1, "aupr_out", "l2", "cifar10"), 47.82, None),
        ((2, "auroc", "glm", "cifar10"), 80.26, 5.46),
        ((2, "aupr_in", "ridge", "letters"), 97.86, 0.04),
        ((2, "aupr_out", "elastic_net", "uniform"), 45.03, 1.92),
        ((3, "auroc", "normal", "nn_a"), 56.09, None),
        ((3, "aupr_in", "all", "nn_d"), 98.71, None),
        ((3, "aupr_out", "uniform", "nn_a"), 56.66, None),
    ],
)
def test_cells_as_printed(key, value, sem):
    cell = paper_cell(*key)
    assert (cell.value, cell.sem) == (value, sem)


def test_gains_named_in_the_papers_text_follow_from_the_cells():
    def gain(table, measure, better, baseline):
        return round(paper_cell(table, measure, *better).value - paper_cell(table, measure, *baseline).value, 2)

    assert gain(2, "aupr_out", ("lasso", "letters"), ("softmax", "letters")) == 5.00
    assert gain(2, "aupr_out", ("lasso", "cifar10"), ("softmax", "cifar10")) == 14.08
    assert gain(3, "aupr_out", ("all", "nn_b"), ("all", "nn_a")) == 13.74
    assert gain(3, "aupr_out", ("all", "nn_d"), ("all", "softmax")) == 3.48
    assert gain(3, "auroc", ("all", "nn_d"), ("all", "softmax")) == 0.81
    assert gain(3, "aupr_in", ("all", "nn_d"), ("all", "softmax")) == 0.12


@pytest.mark.parametrize("row", ["softmax", "entropy"])
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("column", COLUMNS)
def test_tables_1_and_2_agree_where_they_share_cells(measure, row, column):
    assert paper_cell(1, measure, row, column).value == paper_cell(2, measure, row, column).value


def test_only_table_2_prints_standard_errors():
    printed = Counter((table, cell.sem is not None) for table in PAPER_TABLES for cell in paper_table(table))
    assert printed == {(1, False): 84, (2, True): 72, (3, False): 126}


@pytest.mark.parametrize("table", PAPER_TABLES)
def test_values_are_percentages(table):
    for cell in paper_table(table):
        assert 0 < cell.value < 100, cell
        assert 0 < cell.scanned < 100, cell


def test_cells_the_paper_does_not_print():
    assert paper_cell(1, "auroc", "kurtosis", "wrong") is None
    assert paper_cell(3, "auroc", "wrong", "nn_normal") is None
    with pytest.raises(InputError, match="table=4"):
        paper_table(4)


def test_base_rates_of_the_paper():
    expected = {"wrong": 0.013, "letters": 0.0920, "cifar10": 0.0266, "uniform": 0.0920}
    assert dict(PAPER_BASE_RATES) == pytest.approx(expected, abs=1e-4)
