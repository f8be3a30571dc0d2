"""What all scores say about one set of labels, as a Parquet file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradmeter.research.own_files import own_file
from gradmeter.tables import read_table, write_table
from gradmeter.trust.evaluation.resampling import Interval

Labels = NDArray[np.int64]
Values = NDArray[np.float64]

_ID, _LABEL, _GIVEN, _SUGGESTION, _REASON = "id", "label", "given", "suggestion", "reason"
_SCORE = "score:"
_NOTE = b"gradmeter"


@dataclass(frozen=True, eq=False)
class Sheet:
    """Scores of N labels.

    Attributes:
        ids: [N] numbers of the samples in their archive.
        labels: [N] labels as the data give them.
        given: [N] labels to check; where they differ from `labels`, the error was planted.
        suggestion: [N] the likelier label, by the check.
        reason: [N] why a label is doubted; empty if it is not.
        scores: [N] by name; higher means that the label is more likely wrong.
        rates: estimated share of wrong labels, by estimator; without an interval `low` and `high` are equal to it.
        learned: share of the planted errors that the network itself predicts; NaN without errors.
    """

    ids: Labels
    labels: Labels
    given: Labels
    suggestion: Labels
    reason: NDArray[np.str_]
    scores: Mapping[str, Values]
    rates: Mapping[str, Interval]
    learned: float

    @property
    def planted(self) -> NDArray[np.bool_]:
        """Which labels are planted errors, [N]."""
        planted: NDArray[np.bool_] = self.labels != self.given
        return planted

    def write(self, path: Path) -> None:
        """Write the sheet atomically."""
        columns: dict[str, NDArray[Any]] = {
            _ID: self.ids,
            _LABEL: self.labels,
            _GIVEN: self.given,
            _SUGGESTION: self.suggestion,
        }
        columns |= {_SCORE + name: values for name, values in self.scores.items()}
        table = pa.table({**columns, _REASON: pa.array(self.reason.tolist(), pa.string())})
        note = {"rates": {name: asdict(rate) for name, rate in self.rates.items()}, "learned": self.learned}
        write_table(path, table.replace_schema_metadata({_NOTE: json.dumps(note)}))

    @classmethod
    def read(cls, path: Path) -> Sheet:
        """Return the sheet that `write` wrote.

        Raises:
            DataError: if the file cannot be read.
        """
        with own_file(path):
            table = read_table(path)
            note = json.loads(table.schema.metadata[_NOTE])
            columns = {name: table[name].to_numpy() for name in table.column_names}
            return cls(
                columns[_ID],
                columns[_LABEL],
                columns[_GIVEN],
                columns[_SUGGESTION],
                columns[_REASON].astype(np.str_),
                {name.removeprefix(_SCORE): columns[name] for name in columns if name.startswith(_SCORE)},
                {name: Interval(**rate) for name, rate in note["rates"].items()},
                note["learned"],
            )
