"""Tables in Parquet files of any name, of which Arrow takes only those that are valid UTF-8."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradmeter.files import atomic_write


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table to a file, atomically.

    Raises:
        OutputError: if it cannot be written.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        pq.write_table(table, file, compression="zstd")


def read_table(path: Path, **selection: Any) -> pa.Table:
    """Read a file, or some columns and rows of it.

    Args:
        path: of the file.
        selection: see `pyarrow.parquet.read_table`.

    Raises:
        OSError: if the file cannot be opened.
        pyarrow.ArrowException: if it is no Parquet file, or damaged.
    """
    with _opened(path) as file:
        return pq.read_table(file, **selection)


def read_metadata(path: Path) -> dict[bytes, bytes]:
    """Read what is written with the columns of a table.

    Raises:
        OSError: see `read_table`.
        pyarrow.ArrowException: see `read_table`.
    """
    with _opened(path) as file:
        return pq.read_schema(file).metadata or {}


def _opened(path: Path) -> pa.OSFile:
    # Not a file of Python: Arrow's threads read ahead in it, and abort the process if it ends meanwhile.
    return pa.OSFile(os.fsencode(path))
