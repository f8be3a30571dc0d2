"""The tables of the study in long form: means over runs, in percent."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradmeter.files import write_text
from gradmeter.research.study.features import ENTROPY
from gradmeter.research.study.judging import PENALTIES, LinearClassifier, penalised
from gradmeter.research.study.names import CONCEPTS, MEASURES, PAPER_METRICS, TRUST_MODEL
from gradmeter.research.study.paper import PAPER_BASE_RATES, paper_cell
from gradmeter.research.study.results import AllResults
from gradmeter.research.study.training import Training
from gradmeter.trust.evaluation import mean_sem, paired_difference
from gradmeter.trust.features import Feature

Row = dict[str, object]

_UNKNOWN = ("omniglot", "notmnist", "cifar10", "normal", "uniform", "all")
_KNOWN_UNKNOWNS = ("a", "b", "c", "d", "normal")


@dataclass(frozen=True)
class TableLayout:
    """The layout of a table.

    Attributes:
        scores: the scores, as rows.
        concepts: the concepts, as columns.
        transposed: whether scores are columns and concepts rows.
        all_concepts: whether to add the concepts of the data that the paper does not have.
    """

    scores: tuple[str, ...]
    concepts: tuple[str, ...]
    transposed: bool = False
    all_concepts: bool = False


LAYOUTS = {
    1: TableLayout(
        ("softmax", "entropy", "l1", "l2", "min", "max", "std", "mean", "skewness", "kurtosis"),
        ("wrong", "letters", "cifar10", "uniform"),
    ),
    2: TableLayout(
        ("softmax", "entropy", "glm", "lasso", "ridge", "elastic_net"), ("wrong", "letters", "cifar10", "uniform")
    ),
    3: TableLayout(
        ("entropy", "softmax", "nn_a", "nn_b", "nn_c", "nn_d", TRUST_MODEL), ("wrong", *_UNKNOWN), transposed=True
    ),
    # The paper gives these results in words only: Table 3 for the LASSO, and normal noise as the known unknown.
    4: TableLayout(
        (*(f"lasso_{name}" for name in _KNOWN_UNKNOWNS), "nn_normal", TRUST_MODEL),
        ("wrong", "letters", *_UNKNOWN),
        transposed=True,
        all_concepts=True,
    ),
}
"""The three tables of the paper, and a fourth."""

_RECORDED = {"glm": "glm_a", "lasso": "lasso_a", "ridge": "ridge_a", "elastic_net": "elastic_net_a"}


def recorded(score: str) -> str:
    """Return the name in results of a score of a table; the regressions of Table 2 use training set (a)."""
    return _RECORDED.get(score, score)


def paper_table(table: int, results: AllResults) -> list[Row]:
    """Return the records of one table, our numbers beside the paper's; cells without results are omitted."""
    rows: list[Row] = []
    for measure, score, concept, row, column in _cells(table, results):
        values = results(recorded(score), concept, measure)
        if values is None:
            continue
        cell = paper_cell(table, measure, row, column)
        count, base_rate = results("", concept, "n"), results("", concept, "base_rate")
        assert count is not None
        assert base_rate is not None
        rows.append(
            {
                "measure": measure,
                "row": row,
                "column": column,
                **_summary(values),
                "n": round(float(count.mean())),
                "base_rate": float(base_rate.mean()),
                "paper": cell.value if cell else None,
                "paper_scanned": cell.scanned if cell else None,
            }
        )
    return rows


def differences(results: AllResults) -> list[Row]:
    """Return differences to the softmax baseline, paired within runs, in percentage points with 95 % intervals."""
    rows: list[Row] = []
    for table in LAYOUTS:
        for measure, score, concept, row, column in _cells(table, results):
            ours, baseline = results(recorded(score), concept, measure), results("softmax", concept, measure)
            if score == "softmax" or ours is None or baseline is None:
                continue
            difference = paired_difference(100 * ours, 100 * baseline)
            rows.append(
                {
                    "table": table,
                    "measure": measure,
                    "row": row,
                    "column": column,
                    "mean": difference.mean,
                    "low": difference.low,
                    "high": difference.high,
                    "runs": difference.n,
                }
            )
    return rows


def matched_base_rate(results: AllResults) -> list[Row]:
    """Return the AUPR-Out of the scores of Tables 1 and 2, re-weighted to the paper's base rates."""
    rows: list[Row] = []
    for score in dict.fromkeys(LAYOUTS[1].scores + LAYOUTS[2].scores):
        for column, base_rate in PAPER_BASE_RATES.items():
            values = results(recorded(score), column, "aupr_out_matched")
            if values is not None:
                cell = paper_cell(1, "aupr_out", score, column) or paper_cell(2, "aupr_out", score, column)
                paper = cell.value if cell else None
                rows.append(
                    {"row": score, "column": column, "base_rate": base_rate, **_summary(values), "paper": paper}
                )
    return rows


def penalties(results: AllResults) -> list[Row]:
    """Return the AUROC of the LASSO of Table 2 by penalty, beside the paper's."""
    rows: list[Row] = []
    for penalty, score in ((1.0, recorded("lasso")), *((penalty, penalised(penalty)) for penalty in PENALTIES)):
        for column in LAYOUTS[2].concepts:
            values = results(score, column, "auroc")
            cell = paper_cell(2, "auroc", "lasso", column)
            if values is not None:
                rows.append(
                    {"penalty": penalty, "column": column, **_summary(values), "paper": cell.value if cell else None}
                )
    return rows


def ablation(results: AllResults) -> list[Row]:
    """Return the results of meta classifiers that see the last layers only (claim C7)."""
    rows: list[Row] = []
    for classifier, all_layers in (("lasso", "lasso_a"), ("ridge", "ridge_a"), ("nn_a", "nn_a")):
        last_layers = [score for score in results.scores() if score.startswith(f"{all_layers}@")]
        for score in (*last_layers, all_layers):
            for column in results.columns():
                for measure in MEASURES:
                    values = results(score, column, measure)
                    if values is None:
                        continue
                    rows.append(
                        {
                            "classifier": classifier,
                            "layers": score.partition("@")[2] or "all layers",
                            "column": column,
                            "measure": measure,
                            **_summary(values),
                        }
                    )
    return rows


def lasso_weights(fitted: Sequence[Mapping[str, LinearClassifier]]) -> list[Row]:
    """Return the coefficients of the LASSO on z-scored features, by layer and statistic."""
    coefficients: dict[Feature, list[float]] = {}
    for classifiers in fitted:
        lasso = classifiers["lasso_a"]
        for feature, coefficient in zip(lasso.features.axes.features, lasso.coefficients, strict=True):
            coefficients.setdefault(feature, []).append(coefficient)
    layers = list(dict.fromkeys(feature.layer for feature in coefficients))
    order = (ENTROPY.statistic, *PAPER_METRICS)
    features = sorted(coefficients, key=lambda feature: (layers.index(feature.layer), order.index(feature.statistic)))
    return [
        {
            "layer": feature.layer,
            "metric": feature.statistic,
            "mean": float(np.mean(coefficients[feature])),
            "sd": float(np.std(coefficients[feature], ddof=1)) if len(coefficients[feature]) > 1 else None,
            "runs": len(coefficients[feature]),
        }
        for feature in features
    ]


def networks(results: AllResults, trainings: Sequence[Training]) -> list[Row]:
    """Return epochs, restarts, dead filters, damage and errors of every network."""
    validation, test = (results("", "", f"{name}_error") for name in ("validation", "test"))
    assert validation is not None
    assert test is not None
    return [
        {
            "run": run,
            "epochs": len(training.accuracies),
            "restarts": training.restarts,
            "dead_filters": training.dead_filters,
            "damaged": "yes" if training.damaged else "no",
            "validation_error": float(100 * validation[run]),
            "test_error": float(100 * test[run]),
        }
        for run, training in enumerate(trainings)
    ]


def write_tables(
    folder: Path,
    results: AllResults,
    fitted: Sequence[Mapping[str, LinearClassifier]],
    trainings: Sequence[Training],
) -> None:
    """Write all tables as CSV.

    Args:
        folder: the output folder.
        results: results of all runs.
        fitted: fitted regressions of each run, by name.
        trainings: training record of each run's network.
    """
    for table in LAYOUTS:
        write_rows(folder / f"table{table}.csv", paper_table(table, results))
    write_rows(folder / "differences.csv", differences(results))
    write_rows(folder / "matched_base_rate.csv", matched_base_rate(results))
    write_rows(folder / "penalties.csv", penalties(results))
    write_rows(folder / "ablation.csv", ablation(results))
    write_rows(folder / "lasso_weights.csv", lasso_weights(fitted))
    write_rows(folder / "networks.csv", networks(results, trainings))


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write records as CSV, atomically; None and NaN become empty cells. Without records, remove the file."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([_format(value) for value in row.values()] for row in rows)
    write_text(path, text.getvalue())


def _summary(values: np.ndarray) -> Row:
    """Return the mean over runs and its standard error, in percent."""
    summary = mean_sem(100 * values)
    return {"mean": summary.mean, "sem": summary.sem, "runs": summary.n}


def _format(value: object) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _cells(table: int, results: AllResults) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield every cell as (measure, score, concept, row, column)."""
    layout = LAYOUTS[table]
    further = [column for column in results.columns() if column not in CONCEPTS] if layout.all_concepts else []
    concepts = (*layout.concepts, *further)
    for measure in MEASURES:
        if layout.transposed:
            yield from ((measure, s, c, c, s) for c in concepts for s in layout.scores)
        else:
            yield from ((measure, s, c, s, c) for s in layout.scores for c in concepts)
