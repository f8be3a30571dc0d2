"""The scores of one draw on disk: a Parquet file for the cases, and one for the meta regression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradmeter.research.own_files import own_file
from gradmeter.tables import read_table, write_table

Values = NDArray[np.float64]

SOFTMAX = "softmax"
CASE, OUTSIDE, LOSS = "case", "outside", "loss"


def method(model: str, variant: str) -> str:
    """Return the name of a model that reads a variant."""
    return f"{model}: {variant}"


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of the samples of a case; a higher score means less trust.

    Attributes:
        outside: [n] whether the sample is wrong or unknown; the others are right predictions.
        scores: [n] by method.
    """

    outside: NDArray[np.bool_]
    scores: Mapping[str, Values]


@dataclass(frozen=True, eq=False)
class Predicted:
    """Predictions of the loss [n] of known inputs, by method."""

    loss: Values
    predictions: Mapping[str, Values]


def write_cases(path: Path, cases: Mapping[str, Scored]) -> None:
    """Write the scores of all cases of a draw."""
    parts = [
        pa.table({CASE: [name] * len(case.outside), OUTSIDE: case.outside, **case.scores})
        for name, case in cases.items()
    ]
    write_table(path, pa.concat_tables(parts))


def read_cases(path: Path) -> dict[str, Scored]:
    """Return the scores that `write_cases` wrote.

    Raises:
        DataError: if the file cannot be read.
    """
    columns = _read(path, CASE, OUTSIDE)
    names, outside = columns.pop(CASE), columns.pop(OUTSIDE)
    return {
        name: Scored(outside[names == name], {key: values[names == name] for key, values in columns.items()})
        for name in dict.fromkeys(names)
    }


def write_predictions(path: Path, predicted: Predicted) -> None:
    """Write the predictions of a draw."""
    write_table(path, pa.table({LOSS: predicted.loss, **predicted.predictions}))


def read_predictions(path: Path) -> Predicted:
    """Return the predictions that `write_predictions` wrote.

    Raises:
        DataError: if the file cannot be read.
    """
    columns = _read(path, LOSS)
    return Predicted(columns.pop(LOSS), columns)


def _read(path: Path, *needed: str) -> dict[str, NDArray[Any]]:
    with own_file(path):
        table = read_table(path)
        if missing := [name for name in needed if name not in table.column_names]:
            raise ValueError(f"it has no column {missing[0]!r}")
    return {name: table[name].to_numpy() for name in table.column_names}
