"""The results of one run in long form, and the results of all runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from gradmeter.files import write_text
from gradmeter.research.own_files import own_file


@dataclass(frozen=True)
class Result:
    """One number of one run.

    Attributes:
        score: "softmax", "l2", "lasso_a", "nn_b", "nn_a@dense"; empty if the measure concerns no score.
        column: what correct digits are compared with, as in `Outcome.columns`; empty if there is no comparison.
        measure: "auroc", "aupr_in", "aupr_out", "n", "base_rate", "aupr_out_matched", "ks", "ks_p", ...
        value: the number; rates and areas as fractions, not in percent.
    """

    score: str
    column: str
    measure: str
    value: float


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Write results as CSV with all digits, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Result))
    writer.writerows((r.score, r.column, r.measure, repr(float(r.value))) for r in results)
    write_text(path, text.getvalue())


def read_results(path: Path) -> list[Result]:
    """Read the results that `write_results` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    with own_file(path), path.open(encoding="utf-8", newline="") as file:
        return [
            Result(row["score"], row["column"], row["measure"], float(row["value"])) for row in csv.DictReader(file)
        ]


class AllResults:
    """The results of all runs, looked up by (score, column, measure)."""

    def __init__(self, runs: Iterable[Iterable[Result]]) -> None:
        values: dict[tuple[str, str, str], list[float]] = {}
        self.runs = 0
        for run in runs:
            self.runs += 1
            for score, column, measure, value in map(astuple, run):
                values.setdefault((score, column, measure), []).append(value)
        self._values = {key: np.array(of_runs) for key, of_runs in values.items()}

    def __call__(self, score: str, column: str, measure: str) -> np.ndarray | None:
        """Return the values in the order of runs, [runs] float64, or None if any run lacks the result."""
        values = self._values.get((score, column, measure))
        return values if values is not None and len(values) == self.runs else None

    def scores(self) -> tuple[str, ...]:
        """Return the names of all scores, in the order of the results."""
        return tuple(dict.fromkeys(score for score, _, _ in self._values if score))

    def columns(self) -> tuple[str, ...]:
        """Return the names of all columns, in the order of the results."""
        return tuple(dict.fromkeys(column for _, column, _ in self._values if column))
