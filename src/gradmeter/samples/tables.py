"""Parquet files as a source: encoded images, or texts, with labels, as the Hugging Face hub lays them out."""

from __future__ import annotations

import bisect
import hashlib
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradmeter.errors import DataError
from gradmeter.samples.decoding import decode
from gradmeter.samples.sample import Sample, Source, Unreadable

_LABELS = ("label", "labels")
_NOTE = b"huggingface"


# What the Hugging Face hub's test sets have in place of a label.
_NO_LABEL = -1


class ParquetTable(Source):
    """Rows of one or several Parquet files; the columns are found by their types.

    The column of images is of bytes, or of structs that hold `bytes`; where there is none, the column of strings that
    is not the label is the text. Of several the one called `image` or `text` is meant. The column `label` (or `labels`)
    holds whole numbers, whose names may stand in the Hugging Face note of the file, or names.

    Args:
        path: a file, or a folder whose Parquet files are taken in the order of their names.
        mode: "RGB" or "L" of decoded images.

    Raises:
        DataError: if a file is damaged, there is none, or their columns do not fit.
    """

    def __init__(self, path: Path, mode: str = "RGB") -> None:
        self.name, self._mode = str(path), mode
        files = sorted(file for file in path.glob("*.parquet") if not file.name.startswith((".", "_")))
        files = files if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path} holds no Parquet files; expected names that end in .parquet")
        self._folder = path if path.is_dir() else path.parent
        self._paths = files
        schema = _metadata(files[0]).schema.to_arrow_schema()
        self._content = _content_column(files[0], schema)
        self.texts = _is_text(schema.field(self._content).type)
        labels = [name for name in _LABELS if name in schema.names and name != self._content]
        # A column without a single value has no type: there are no labels.
        self._label = next((name for name in labels if not pa.types.is_null(schema.field(name).type)), None)
        self._groups = list(self._row_groups(schema))
        self._ends = list(itertools.accumulate(rows for _, _, rows, _ in self._groups))
        if not self._ends or not self._ends[-1]:
            raise DataError(f"{path} holds no rows")
        self.labelled = self._label is not None
        self.classes, self._numbers = self._class_names(schema)
        self._held: tuple[int, pa.Table] | None = None

    def __len__(self) -> int:
        """The number of rows."""
        return self._ends[-1]

    def id(self, index: int) -> str:
        """The file and the row in it."""
        group = bisect.bisect_right(self._ends, index)
        path, _, rows, before = self._groups[group]
        return f"{path.relative_to(self._folder)}:{before + index - (self._ends[group] - rows)}"

    def read(self, index: int) -> Sample:
        """Read one row; the row group it lies in is kept until another is asked for."""
        group = bisect.bisect_right(self._ends, index)
        path, number, rows, _ = self._groups[group]
        if self._held is None or self._held[0] != group:
            columns = [self._content, *([self._label] if self._label else [])]
            try:
                with pq.ParquetFile(path) as file:
                    self._held = group, file.read_row_group(number, columns=columns)
            except (OSError, pa.ArrowException) as error:
                raise Unreadable(f"its row group is damaged: {' '.join(str(error).split())}") from error
        row = index - (self._ends[group] - rows)
        content = self._held[1][self._content][row].as_py()
        label = None if self._label is None else self._held[1][self._label][row].as_py()
        if content is None:
            raise Unreadable("the row is empty")
        if label == _NO_LABEL:
            label = None
        if not self.texts:
            content = self._decoded(content)
        return Sample(self.id(index), content, self._numbers[label] if self._numbers and label is not None else label)

    def fingerprint(self) -> str:
        """A hash of the files' names, rows and columns."""
        digest = hashlib.sha256(f"{self._content} {self._label}".encode())
        for path, number, rows, _ in self._groups:
            digest.update(f"{path.relative_to(self._folder)} {number} {rows}\0".encode())
        return digest.hexdigest()

    def _decoded(self, content: Any) -> Any:
        encoded = content["bytes"] if isinstance(content, dict) else content
        if encoded is None:
            raise Unreadable("the row holds a path and no image; expected the image itself")
        return decode(io.BytesIO(encoded), self._mode)

    def _row_groups(self, schema: pa.Schema) -> Iterator[tuple[Path, int, int, int]]:
        """(file, number of the group, its rows, rows of the file before it)."""
        for path in self._paths:
            metadata = _metadata(path)
            found = metadata.schema.to_arrow_schema()
            for name in (self._content, self._label):
                if name is not None and (name not in found.names or found.field(name).type != schema.field(name).type):
                    raise DataError(f"{path} has another column {name!r} than {self._paths[0].name}; expected the same")
            before = 0
            for number in range(metadata.num_row_groups):
                rows = metadata.row_group(number).num_rows
                yield path, number, rows, before
                before += rows

    def _class_names(self, schema: pa.Schema) -> tuple[tuple[str, ...] | None, dict[str, int]]:
        """Names of the classes, and the number of each where the labels are names."""
        if self._label is None:
            return None, {}
        kind = schema.field(self._label).type
        if pa.types.is_integer(kind):
            return _noted_names(schema, self._label), {}
        if _is_text(kind):
            try:
                columns = [pq.read_table(path, columns=[self._label])[self._label] for path in self._paths]
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{self.name}: the labels cannot be read ({' '.join(str(error).split())})") from error
            names = sorted({name for column in columns for name in column.unique().to_pylist() if name is not None})
            return tuple(names), {name: number for number, name in enumerate(names)}
        raise DataError(f"{self.name}: column {self._label!r} is {kind}; expected whole numbers or names")


def _metadata(path: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is no readable Parquet file: {' '.join(str(error).split())}") from error


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):  # pandas' categories
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_encoded(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_encoded(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _content_column(path: Path, schema: pa.Schema) -> str:
    images = [field.name for field in schema if _is_encoded(field.type)]
    texts = [field.name for field in schema if _is_text(field.type) and field.name not in _LABELS]
    for found, what in ((images, "image"), (texts, "text")):
        if len(found) > 1 and what not in found:
            raise DataError(
                f"{path} has several columns of {what}s ({', '.join(found)}); expected one, or one called {what}"
            )
        if found:
            return what if what in found else str(found[0])
    raise DataError(f"{path} has columns {', '.join(schema.names)}; expected one of encoded images or of texts")


def _noted_names(schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """Names of the classes from the note that the datasets library writes."""
    try:
        note: Any = json.loads((schema.metadata or {})[_NOTE])
        names: Sequence[str] = note["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(map(str, names))
