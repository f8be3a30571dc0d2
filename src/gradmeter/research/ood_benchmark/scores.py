"""Scores on disk: one Parquet file for each method and network, so that a killed comparison can be resumed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradmeter.research.own_files import own_file
from gradmeter.tables import read_table, write_table

KNOWN = "known"
"""The set of known test images."""

_METADATA_KEY = b"gradmeter"


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of a network's test images by one method; a higher score means less trust in the prediction.

    Attributes:
        values: scores [n] of each set by name: `KNOWN`, then every unknown concept.
        fit_seconds: time to fit the method, including the search for settings.
        milliseconds: time to score an image on one thread, including the network's forward pass.
    """

    values: Mapping[str, NDArray[np.float64]]
    fit_seconds: float
    milliseconds: float

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        sets = [name for name, scores in self.values.items() for _ in range(len(scores))]
        table = pa.table(
            {"set": pa.array(sets).dictionary_encode(), "score": np.concatenate(list(self.values.values()))}
        )
        cost = json.dumps({"fit_seconds": self.fit_seconds, "milliseconds": self.milliseconds}).encode()
        write_table(path, table.replace_schema_metadata({_METADATA_KEY: cost}))

    @classmethod
    def read(cls, path: Path) -> Scores:
        """Read a file of `write`.

        Raises:
            DataError: if the file cannot be read.
        """
        with own_file(path):
            table = read_table(path)
            cost = json.loads(table.schema.metadata[_METADATA_KEY])
            sets, scores = table["set"].to_numpy(), table["score"].to_numpy()
        return cls({name: scores[sets == name] for name in dict.fromkeys(sets)}, **cost)


def score_path(folder: Path, task: str, run: int, method: str) -> Path:
    """Return the path of a method's scores."""
    return folder / "scores" / f"{task}-{run}" / f"{re.sub(r'[^A-Za-z0-9]+', '-', method).strip('-')}.parquet"
