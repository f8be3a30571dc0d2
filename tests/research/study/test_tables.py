import csv
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gradmeter.research.study import tables
from gradmeter.research.study.features import Features
from gradmeter.research.study.judging import PENALTIES, LinearClassifier, penalised
from gradmeter.research.study.names import MEASURES
from gradmeter.research.study.paper import PAPER_BASE_RATES, paper_table
from gradmeter.research.study.results import AllResults, Result
from gradmeter.research.study.training import Training

COLUMNS = ("wrong", "letters", "omniglot", "notmnist", "cifar10", "normal", "uniform", "all")
REGRESSIONS = {"glm": "glm_a", "lasso": "lasso_a", "ridge": "ridge_a", "elastic_net": "elastic_net_a"}
SCORES = (
    *("softmax", "entropy", "l1", "l2", "min", "max", "std", "mean", "skewness", "kurtosis"),
    *REGRESSIONS.values(),
    *(f"{name}_{set_}" for name in ("nn", "lasso") for set_ in ("b", "c", "d", "normal")),
    *("gradmeter", "nn_a", "lasso_a@dense", "lasso_a@conv3+dense", "ridge_a@dense", "nn_a@dense"),
    *(penalised(penalty) for penalty in PENALTIES),
)


def value(score: str, column: str, measure: str, run: int) -> float:
    """Return a fraction that differs in every cell and run."""
    return float(np.random.default_rng([SCORES.index(score), COLUMNS.index(column), len(measure), run]).random())


def made_up(runs: int = 3, columns: tuple[str, ...] = COLUMNS, without: tuple[str, ...] = ()) -> AllResults:
    return AllResults(
        [
            *(Result("", column, "n", 100 + run) for column in columns),
            *(Result("", column, "base_rate", 0.25 + run / 100) for column in columns),
            Result("", "", "test_error", 0.01 + run / 1000),
            Result("", "", "validation_error", 0.02),
            *(
                Result(score, column, measure, value(score, column, measure, run))
                for score in SCORES
                if score not in without
                for column in columns
                for measure in (*MEASURES, "aupr_out_matched")
            ),
        ]
        for run in range(runs)
    )


def numbers(score: str, column: str, measure: str, runs: int = 3) -> np.ndarray:
    return 100 * np.array([value(REGRESSIONS.get(score, score), column, measure, run) for run in range(runs)])


@pytest.mark.parametrize("table", [1, 2, 3])
def test_every_cell_of_the_paper_has_ours_beside_it(table: int) -> None:
    rows = tables.paper_table(table, made_up())
    ours = {(row["measure"], row["row"], row["column"]): row for row in rows}
    assert len(ours) == len(rows)
    for cell in paper_table(table):
        row = ours[cell.measure, cell.row, cell.column]
        assert (row["paper"], row["paper_scanned"]) == (cell.value, cell.scanned)
        score, concept = (cell.column, cell.row) if table == 3 else (cell.row, cell.column)
        assert row["mean"] == pytest.approx(numbers(score, concept, cell.measure).mean())
        assert row["sem"] == pytest.approx(stats.sem(numbers(score, concept, cell.measure)))
    rest = [row for key, row in ours.items() if key not in {(c.measure, c.row, c.column) for c in paper_table(table)}]
    assert all(row["paper"] is None and row["paper_scanned"] is None for row in rest)
    assert {row["row"] for row in rest if table != 3} == ({"mean", "skewness", "kurtosis"} if table == 1 else set())
    assert {row["column"] for row in rest if table == 3} == ({"gradmeter"} if table == 3 else set())


def test_columns_and_sizes_of_a_record() -> None:
    rows = tables.paper_table(1, made_up())
    assert ",".join(rows[0]) == "measure,row,column,mean,sem,runs,n,base_rate,paper,paper_scanned"
    assert {(row["runs"], row["n"], row["base_rate"]) for row in rows} == {(3, 101, 0.26)}
    misread = next(
        row for row in rows if (row["measure"], row["row"], row["column"]) == ("aupr_out", "entropy", "wrong")
    )
    assert (misread["paper"], misread["paper_scanned"]) == (35.56, 95.56)


@pytest.mark.parametrize(
    ("table", "rows", "columns"),
    [
        (
            1,
            ("softmax", "entropy", "l1", "l2", "min", "max", "std", "mean", "skewness", "kurtosis"),
            ("wrong", "letters", "cifar10", "uniform"),
        ),
        (
            2,
            ("softmax", "entropy", "glm", "lasso", "ridge", "elastic_net"),
            ("wrong", "letters", "cifar10", "uniform"),
        ),
        (
            3,
            ("wrong", "omniglot", "notmnist", "cifar10", "normal", "uniform", "all"),
            ("entropy", "softmax", "nn_a", "nn_b", "nn_c", "nn_d", "gradmeter"),
        ),
        (4, COLUMNS, ("lasso_a", "lasso_b", "lasso_c", "lasso_d", "lasso_normal", "nn_normal", "gradmeter")),
    ],
)
def test_layouts(table: int, rows: tuple[str, ...], columns: tuple[str, ...]) -> None:
    expected = [(measure, row, column) for measure in MEASURES for row in rows for column in columns]
    found = [(row["measure"], row["row"], row["column"]) for row in tables.paper_table(table, made_up())]
    assert found == expected


def test_what_the_data_cannot_give_is_left_out() -> None:
    few = made_up(columns=("wrong", "letters", "uniform", "all"), without=("nn_c", "nn_d", "gradmeter"))
    assert {row["column"] for row in tables.paper_table(1, few)} == {"wrong", "letters", "uniform"}
    assert {row["row"] for row in tables.paper_table(3, few)} == {"wrong", "uniform", "all"}
    assert {row["column"] for row in tables.paper_table(3, few)} == {"entropy", "softmax", "nn_a", "nn_b"}


def test_a_single_run_has_no_standard_error() -> None:
    rows = tables.paper_table(1, made_up(runs=1))
    assert all(math.isnan(row["sem"]) for row in rows)  # type: ignore[arg-type]


def test_differences_are_paired_within_runs() -> None:
    rows = tables.differences(made_up())
    assert ",".join(rows[0]) == "table,measure,row,column,mean,low,high,runs"
    assert {row["table"] for row in rows} == {1, 2, 3, 4}
    assert not any("softmax" in (row["row"], row["column"]) for row in rows)
    found = next(
        r for r in rows if (r["table"], r["measure"], r["row"], r["column"]) == (2, "auroc", "lasso", "letters")
    )
    pairs = numbers("lasso", "letters", "auroc"), numbers("softmax", "letters", "auroc")
    interval = stats.ttest_rel(*pairs).confidence_interval(0.95)
    assert found["mean"] == pytest.approx((pairs[0] - pairs[1]).mean())
    assert (found["low"], found["high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))
    found = next(r for r in rows if (r["table"], r["measure"], r["row"], r["column"]) == (3, "auroc", "all", "nn_d"))
    assert found["mean"] == pytest.approx((numbers("nn_d", "all", "auroc") - numbers("softmax", "all", "auroc")).mean())


def test_matched_base_rates() -> None:
    rows = tables.matched_base_rate(made_up())
    assert list(rows[0]) == ["row", "column", "base_rate", "mean", "sem", "runs", "paper"]
    assert len(rows) == len({(row["row"], row["column"]) for row in rows}) == 14 * 4
    found = next(row for row in rows if (row["row"], row["column"]) == ("ridge", "cifar10"))
    assert found["base_rate"] == PAPER_BASE_RATES["cifar10"]
    assert found["mean"] == pytest.approx(numbers("ridge", "cifar10", "aupr_out_matched").mean())
    assert found["paper"] == 82.95
    assert next(row for row in rows if row["row"] == "kurtosis")["paper"] is None


def test_penalties() -> None:
    rows = tables.penalties(made_up())
    assert [row["penalty"] for row in rows[::4]] == [1, 10, 100, 1000]
    letters = next(row for row in rows if (row["penalty"], row["column"]) == (100, "letters"))
    assert letters["mean"] == pytest.approx(numbers("lasso_a, penalty 100", "letters", "auroc").mean())
    assert letters["paper"] == 89.34


def test_ablation() -> None:
    rows = tables.ablation(made_up())
    assert list(rows[0]) == ["classifier", "layers", "column", "measure", "mean", "sem", "runs"]
    assert {(row["classifier"], row["layers"]) for row in rows} == {
        *(("lasso", layers) for layers in ("dense", "conv3+dense", "all layers")),
        *((classifier, layers) for classifier in ("ridge", "nn_a") for layers in ("dense", "all layers")),
    }
    key = ("nn_a", "dense", "all", "aupr_in")
    found = next(r for r in rows if (r["classifier"], r["layers"], r["column"], r["measure"]) == key)
    assert found["mean"] == pytest.approx(numbers("nn_a@dense", "all", "aupr_in").mean())


def test_lasso_weights_are_sorted_by_layer_and_metric() -> None:
    def classifier(features: tuple[str, ...], *coefficients: float) -> dict[str, LinearClassifier]:
        ones = [1.0] * len(features)
        return {"lasso_a": LinearClassifier(Features.named(features), ones, ones, list(coefficients), 0.0, 5, True)}

    rows = tables.lasso_weights(
        [
            classifier(("entropy", "conv1/std", "conv1/l1", "dense/l2"), 1, 2, 3, 4),
            classifier(("entropy", "conv1/std", "conv1/l1"), 2, 4, 8),
        ]
    )
    found = [tuple(row.values()) for row in rows]
    half = 0.5**0.5
    assert found[0] == ("", "entropy", 1.5, pytest.approx(half), 2)
    assert found[1] == ("conv1", "l1", 5.5, pytest.approx(5 * half), 2)
    assert found[2] == ("conv1", "std", 3, pytest.approx(2 * half), 2)
    assert found[3] == ("dense", "l2", 4, None, 1)
    assert list(rows[0]) == ["layer", "metric", "mean", "sd", "runs"]


def test_networks() -> None:
    rows = tables.networks(made_up(runs=2), [Training([0.9, 0.98], 0, 1, False), Training([0.97], 3, 5, True)])
    assert [list(row.values()) for row in rows] == [
        [0, 2, 0, 1, "no", 2.0, 1.0],
        [1, 1, 3, 5, "yes", 2.0, pytest.approx(1.1)],
    ]
    columns = ["run", "epochs", "restarts", "dead_filters", "damaged", "validation_error", "test_error"]
    assert list(rows[0]) == columns


def test_files_have_six_digits_and_empty_cells_for_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "tables" / "table.csv"
    tables.write_rows(path, [{"a": 1 / 3, "b": None, "c": math.nan, "d": 7, "e": 'x, "y"'}])
    assert path.read_bytes() == b'a,b,c,d,e\n0.333333,,,7,"x, ""y"""\n'
    with path.open(newline="") as stream:
        assert next(csv.DictReader(stream))["e"] == 'x, "y"'
    tables.write_rows(path, [])
    assert not path.exists()
