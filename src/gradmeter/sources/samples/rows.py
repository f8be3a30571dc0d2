"""Rows of Parquet files, one after the other, whatever their row groups unpack to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradmeter.errors import one_line
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.sample import Unreadable

# Bytes of a column that are read at once.
_BUFFER = 2**23


class Rows:
    """Some columns of Parquet files; it may be sent to another process.

    In memory are a page of each column and one row: a row group may unpack to any number of times its size in the file,
    whose dictionary holds once what a million rows repeat. Going forwards is cheap, going back begins the row group
    again.

    Args:
        location: a file, or the folder of several.
        columns: their names and types, as they were when the files were opened.
    """

    def __init__(self, location: Location, columns: pa.Schema) -> None:
        self._location, self._columns = location, columns
        self._damaged = set[tuple[str, int]]()
        self._leave()

    def row(self, file: str, group: int, number: int) -> dict[str, pa.Scalar]:
        """The columns of one row.

        Args:
            file: its name below the folder; empty for the location itself.
            group: number of the row group.
            number: of the row in it.

        Raises:
            Unreadable: if it cannot be read.
            DataError: if its store does not answer.
        """
        try:
            row = self._found(file, group, number)
        except Unreadable:
            # A store may have been away for a moment; if it still is, that is nothing that the row can do for.
            if self._location.is_local or not self._location.is_there(file) or (file, group) in self._damaged:
                raise
            try:
                self._enter(file, group)
                row = self._found(file, group, number)
            except Unreadable:
                self._damaged.add((file, group))
                raise
        return {name: row[name][0] for name in self._columns.names}

    def _found(self, file: str, group: int, number: int) -> pa.RecordBatch:
        if (file, group) != self._group or number < self._next - 1:
            self._enter(file, group)
        while self._next <= number:
            self._advance()
        assert self._row is not None
        return self._row

    def _leave(self) -> None:
        self._group: tuple[str, int] | None = None
        self._file: pq.ParquetFile | None = None
        self._left: Iterator[pa.RecordBatch] = iter(())
        self._row: pa.RecordBatch | None = None
        self._next, self._damage = 0, ""

    def _enter(self, file: str, group: int) -> None:
        if self._file is not None:
            self._file.close(force=True)
        self._leave()
        try:
            stream = self._location.open_for_arrow(file)
            # Else what is stored of a row group is read at once.
            self._file = pq.ParquetFile(stream, buffer_size=_BUFFER)
            there = self._file.metadata.schema.to_arrow_schema()
            for column in self._columns:
                if [there.field(at).type for at in there.get_all_field_indices(column.name)] != [column.type]:
                    raise Unreadable(f"its file was replaced by one with another column {column.name!r}")
            names = self._columns.names
            self._left = self._file.iter_batches(1, row_groups=[group], columns=names, use_threads=False)
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
            raise Unreadable(f"its row group is damaged: {one_line(error)}") from error
        self._group = (file, group)

    def _advance(self) -> None:
        # Behind what is damaged nothing can be found.
        if not self._damage:
            try:
                self._row = next(self._left)
            except StopIteration:
                self._damage = "it has fewer rows than it says"
            except (OSError, pa.ArrowException) as error:
                self._damage = one_line(error)
            else:
                self._next += 1
                return
        raise Unreadable(f"its row group is damaged: {self._damage}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Without the file that is open, for another process."""
        return Rows, (self._location, self._columns)
