"""Scores on disk: one Parquet file for each method and network, so that a killed comparison goes on where it stood."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradmeter.errors import DataError
from gradmeter.files import atomic_write

KNOWN = "known"
"""The set of known test images."""

_ABOUT = b"gradmeter"


@dataclass(frozen=True, eq=False)
class Scores:
    """What a method says of a network's test images; the higher, the more it doubts.

    Attributes:
        values: [n] for each set, by name: `KNOWN`, then each unknown concept.
        fit_seconds: that learning took, the choice of settings included.
        milliseconds: that an image takes, the network's own pass included, on one thread.
    """

    values: Mapping[str, NDArray[np.float64]]
    fit_seconds: float
    milliseconds: float

    def write(self, path: Path) -> None:
        """Write, whole or not at all."""
        sets = [name for name, found in self.values.items() for _ in range(len(found))]
        table = pa.table(
            {"set": pa.array(sets).dictionary_encode(), "score": np.concatenate(list(self.values.values()))}
        )
        cost = json.dumps({"fit_seconds": self.fit_seconds, "milliseconds": self.milliseconds}).encode()
        with atomic_write(path) as temporary:
            pq.write_table(table.replace_schema_metadata({_ABOUT: cost}), temporary, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> Scores:
        """What `write` wrote.

        Raises:
            DataError: if it cannot be read.
        """
        try:
            table = pq.read_table(path)
            cost = json.loads(table.schema.metadata[_ABOUT])
            sets, scores = table["set"].to_numpy(), table["score"].to_numpy()
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{path} is not readable ({error}); remove it and run the same command again") from error
        return cls({name: scores[sets == name] for name in dict.fromkeys(sets)}, **cost)


def score_path(folder: Path, task: str, run: int, method: str) -> Path:
    """Where the scores of a method lie."""
    return folder / "scores" / f"{task}-{run}" / f"{re.sub(r'[^A-Za-z0-9]+', '-', method).strip('-')}.parquet"
