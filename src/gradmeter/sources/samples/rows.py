"""Read Parquet files row by row in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradmeter.errors import one_line
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.sample import Unreadable

# Bytes of a column to read at once.
_BUFFER = 2**23


class Rows:
    """Columns of Parquet files, read one row at a time; can be pickled.

    A row group may be much larger in memory than in the file, because a dictionary stores repeated values only once. So
    only a page of each column and one row are kept in memory. Reading forwards is fast; reading backwards reads the row
    group again from its start.

    Args:
        location: a file, or a folder of files.
        columns: the schema of the columns when the files were opened.
    """

    def __init__(self, location: Location, columns: pa.Schema) -> None:
        self._location, self._columns = location, columns
        self._damaged = set[tuple[str, int]]()
        self._reset()

    def row(self, file: str, group: int, number: int) -> dict[str, pa.Scalar]:
        """Read the columns of one row.

        Args:
            file: the name of a file in the folder; empty if the location is the file.
            group: the index of the row group.
            number: the index of the row in its group.

        Raises:
            Unreadable: if the row cannot be read.
            DataError: if a remote store does not respond or fails twice, or the location is gone.
        """
        try:
            row = self._read(file, group, number)
        except Unreadable:
            self._location.require_present()
            # A remote store may have failed temporarily, so try once more. If it is still down, `exists` raises.
            if self._location.is_local or not self._location.exists(file) or (file, group) in self._damaged:
                raise
            try:
                self._open(file, group)
                row = self._read(file, group, number)
            except Unreadable as error:
                self._location.require_service(str(error), file)
                self._damaged.add((file, group))
                raise
        return {name: row[name][0] for name in self._columns.names}

    def _read(self, file: str, group: int, number: int) -> pa.RecordBatch:
        if (file, group) != self._group or number < self._next - 1:
            self._open(file, group)
        while self._next <= number:
            self._advance()
        assert self._row is not None
        return self._row

    def _reset(self) -> None:
        self._group: tuple[str, int] | None = None
        self._file: pq.ParquetFile | None = None
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._row: pa.RecordBatch | None = None
        self._next, self._damage = 0, ""

    def _open(self, file: str, group: int) -> None:
        """Start reading a row group."""
        if self._file is not None:
            self._file.close(force=True)
        self._reset()
        try:
            stream = self._location.open_for_arrow(file)
            # Without a buffer size, Arrow would read the whole row group at once.
            self._file = pq.ParquetFile(stream, buffer_size=_BUFFER)
            schema = self._file.metadata.schema.to_arrow_schema()
            for column in self._columns:
                if [schema.field(at).type for at in schema.get_all_field_indices(column.name)] != [column.type]:
                    raise Unreadable(f"its file was replaced while it was read; its column {column.name!r} differs")
            names = self._columns.names
            self._batches = self._file.iter_batches(1, row_groups=[group], columns=names, use_threads=False)
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
            raise Unreadable(f"its row group is damaged: {one_line(error)}") from error
        self._group = (file, group)

    def _advance(self) -> None:
        # Rows after a damaged one cannot be read.
        if not self._damage:
            try:
                self._row = next(self._batches)
            except StopIteration:
                self._damage = "it has fewer rows than its metadata say"
            except (OSError, pa.ArrowException) as error:
                self._damage = one_line(error)
            else:
                self._next += 1
                return
        raise Unreadable(f"its row group is damaged: {self._damage}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the open file."""
        return Rows, (self._location, self._columns)
