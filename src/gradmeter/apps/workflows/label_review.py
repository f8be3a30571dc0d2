"""The list of doubtful labels that people fill in: how it is written, and whether it was changed since."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc

from gradmeter.errors import OutputError, one_line
from gradmeter.names import encode_name
from gradmeter.tables import read_table

COLUMNS = ("rank", "id", "label", "suggestion", "p_label", "reason")
"""Columns of the list, which are some of the table's."""

TILE = 4096
"""Rows that are Python objects together."""


def write_review(file: TextIO, rows: Iterable[dict[str, Any]]) -> None:
    """Write the list as CSV."""
    writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def require_unchanged(review: Path, table: Path) -> None:
    """Refuse to replace a list that somebody has filled in: it must be the one that belongs to the table.

    Raises:
        OutputError: if it is not, or if no table can be read that tells.
    """
    if not review.exists():
        return
    name = encode_name(str(review))
    try:
        doubtful = read_table(table, columns=[*COLUMNS], filters=pc.field("reason").is_valid())
    except (OSError, pa.ArrowException) as error:
        raise OutputError(
            f"{name} would be replaced, and {encode_name(str(table))} cannot be read ({one_line(error)}), so nothing "
            "tells whether somebody has filled it in; give it another name, or delete it"
        ) from error
    written = io.StringIO()
    batches = doubtful.sort_by("rank").to_batches(TILE)
    write_review(written, (row for batch in batches for row in batch.to_pylist()))
    if review.read_bytes() != written.getvalue().encode():
        raise OutputError(f"{name} was changed after it was written, and would be replaced; give it another name")
