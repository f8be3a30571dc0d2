"""The numbers of a run in long form, and of all runs together."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from gradmeter.errors import DataError
from gradmeter.files import write_text


@dataclass(frozen=True)
class Result:
    """One number of one run.

    Attributes:
        score: what was measured: "softmax", "l2", "lasso_a", "nn_b", "nn_a@dense"; empty for what has no score.
        column: what correct digits are compared with; empty for what has no column.
        measure: "auroc", "aupr_in", "aupr_out", "n", "base_rate", "aupr_out_matched", "ks", "ks_p", ...
        value: fractions, not percent.
    """

    score: str
    column: str
    measure: str
    value: float


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Write results as CSV with all digits, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Result))
    writer.writerows((r.score, r.column, r.measure, repr(float(r.value))) for r in results)
    write_text(path, text.getvalue())


def read_results(path: Path) -> list[Result]:
    """Read what `write_results` wrote.

    Raises:
        DataError: if the file is damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [
                Result(row["score"], row["column"], row["measure"], float(row["value"]))
                for row in csv.DictReader(stream)
            ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not readable ({error}); remove it and run the same command again") from error


class AllResults:
    """The results of all runs: for (score, column, measure) the values of the runs, in order."""

    def __init__(self, runs: Iterable[Iterable[Result]]) -> None:
        found: dict[tuple[str, str, str], list[float]] = {}
        self.runs = 0
        for run in runs:
            self.runs += 1
            for score, column, measure, value in map(astuple, run):
                found.setdefault((score, column, measure), []).append(value)
        self._values = {key: np.array(values) for key, values in found.items()}

    def __call__(self, score: str, column: str, measure: str) -> np.ndarray | None:
        """The values of the runs, [runs] float64; None where any run lacks it."""
        values = self._values.get((score, column, measure))
        return values if values is not None and len(values) == self.runs else None

    def scores(self) -> tuple[str, ...]:
        """The names of all scores, in the order in which they were recorded."""
        return tuple(dict.fromkeys(score for score, _, _ in self._values if score))

    def columns(self) -> tuple[str, ...]:
        """The names of all columns, in the order in which they were recorded."""
        return tuple(dict.fromkeys(column for _, column, _ in self._values if column))
