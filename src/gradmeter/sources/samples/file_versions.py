"""The versions of files, by which one that was modified or replaced is recognised."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

_SCHEMA = pa.schema({"id": pa.large_string(), "size": pa.int64(), "modified": pa.int64()})
# Rows that are Python objects at a time; each takes ten times the memory of one in Arrow.
_BATCH = 1000


@dataclass(frozen=True)
class FileVersions:
    """Sizes and times of modification of files.

    Attributes:
        table: one row for each file: its id, see `Source.file_versions`, and its size and time of `Location.versions`.
    """

    table: pa.Table

    @classmethod
    def of(cls, files: Iterable[tuple[str, tuple[int, int]]]) -> FileVersions:
        """The versions of files, given by their ids and what `Location.versions` yields for them."""
        return cls(pa.Table.from_batches(_batches(iter(files)), _SCHEMA))

    @classmethod
    def from_arrow(cls, table: pa.Table) -> FileVersions:
        """The versions in a table that was saved.

        Raises:
            ValueError: if the table has other columns.
        """
        if table.schema != _SCHEMA:
            raise ValueError(f"columns {', '.join(table.column_names)}; expected {', '.join(_SCHEMA.names)}")
        return cls(table)

    def of_files_in(self, other: FileVersions) -> FileVersions:
        """These versions of the files that others are of, in their order; null for files that are not among these."""
        rows = pc.index_in(other.table["id"], self.table["id"].combine_chunks())
        return FileVersions(self.table.take(rows))

    def or_else(self, earlier: FileVersions) -> FileVersions:
        """These versions, and earlier ones of other files."""
        if not len(earlier.table):
            return self
        others = pc.invert(pc.is_in(earlier.table["id"], self.table["id"].combine_chunks()))
        return FileVersions(pa.concat_tables([self.table, earlier.table.filter(others)]))

    def differing_from(self, earlier: FileVersions) -> list[str]:
        """The ids of files that had another version earlier; files that were not looked at earlier do not count."""
        before = earlier.of_files_in(self)
        differ = pc.or_(*(pc.not_equal(self.table[name], before.table[name]) for name in ("size", "modified")))
        changed: list[str] = self.table["id"].filter(differ).to_pylist()
        return changed

    def hash(self) -> str:
        """A hash of all versions in their order."""
        digest = hashlib.sha256()
        for batch in self.table.to_batches(_BATCH):
            for row in batch.to_pylist():
                digest.update(json.dumps(row).encode())
        return digest.hexdigest()


def _batches(files: Iterator[tuple[str, tuple[int, int]]]) -> Iterator[pa.RecordBatch]:
    while batch := list(itertools.islice(files, _BATCH)):
        rows = [{"id": id_, "size": size, "modified": modified} for id_, (size, modified) in batch]
        yield pa.RecordBatch.from_pylist(rows, _SCHEMA)
