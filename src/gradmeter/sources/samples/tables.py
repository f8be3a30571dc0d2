"""Parquet files as a source: encoded images, or texts, with labels, as the Hugging Face hub lays them out."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradmeter.errors import DataError, one_line
from gradmeter.names import encode_name
from gradmeter.sources.samples.decoding import ImageDecoder, decode_text
from gradmeter.sources.samples.left_out import Kind, LeftOut
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.rows import Rows
from gradmeter.sources.samples.sample import Encoded, Source, Unreadable

_LABELS = ("label", "labels")
_NOTE = b"huggingface"

MOST = 2**32
"""Rows of the largest source: a number of them is nothing that one could not claim in a few bytes."""

# What the Hugging Face hub's test sets have in place of a label.
_NO_LABEL = -1


class ParquetTable(Source):
    """Rows of one or several Parquet files; the columns are found by their types.

    The column of images is of bytes, or of structs that hold `bytes`; where there is none, the column of strings that
    is not the label is the text. Of several the one called `image` or `text` is meant. The column `label` (or `labels`)
    holds whole numbers, whose names may stand in the Hugging Face note of the file, or names.

    Args:
        location: a file, or a folder whose Parquet files are taken in the order of their names.
        mode: "RGB" or "L" of decoded images.

    Raises:
        DataError: if a file is damaged, there is none, or their columns do not fit.
    """

    def __init__(self, location: Location, mode: str = "RGB") -> None:
        path = self.name = location.name
        self._location = location
        # Names of the files below a folder; the empty one is the file itself.
        left_out = LeftOut()
        self._files = _tables(location, left_out) if location.is_folder() else [""]
        self.left_out = str(left_out)
        if not self._files:
            raise DataError(f"{path} holds no Parquet files; expected names that end in .parquet")
        schema = self._schema(self._files[0])
        self._content = _content_column(self._named(self._files[0]), schema)
        self.texts = _is_text(schema.field(self._content).type)
        self.decoder = decode_text if self.texts else ImageDecoder(mode)
        labels = [name for name in _LABELS if name in schema.names and name != self._content]
        # A column without a single value has no type: there are no labels.
        self._label = next((name for name in labels if not pa.types.is_null(schema.field(name).type)), None)
        self._noted: tuple[str, ...] | None = None
        self._groups = list(self._row_groups(schema))
        self._ends = list(itertools.accumulate(rows for _, _, rows, _ in self._groups))
        if not self._ends or not self._ends[-1]:
            raise DataError(f"{path} holds no rows")
        if min(rows for _, _, rows, _ in self._groups) < 0 or self._ends[-1] > MOST:
            raise DataError(f"{path} says that it has {self._ends[-1]:,} rows; expected at most {MOST:,}")
        self.labelled = self._label is not None
        self.classes, self._numbers = self._class_names(schema)
        columns = [self._content] if self._label is None else [self._content, self._label]
        self._rows = Rows(location, pa.schema([schema.field(name) for name in columns]))

    def __len__(self) -> int:
        """The number of rows."""
        return self._ends[-1]

    def id(self, index: int) -> str:
        """The file and the row in it."""
        group = bisect.bisect_right(self._ends, index)
        file, _, rows, before = self._groups[group]
        return f"{self._file_name(file)}:{before + index - (self._ends[group] - rows)}"

    def fetch(self, index: int) -> Encoded:
        """Read one row; `Rows` says what it costs."""
        group = bisect.bisect_right(self._ends, index)
        file, number, rows, _ = self._groups[group]
        row = self._rows.row(file, number, index - (self._ends[group] - rows))
        try:
            content = row[self._content].as_py()
            label = None if self._label is None else row[self._label].as_py()
        except UnicodeDecodeError as error:
            raise Unreadable(f"no text in UTF-8: {one_line(error)}") from error
        if content is None:
            raise Unreadable("the row is empty")
        if label == _NO_LABEL:
            label = None
        if self._numbers and label is not None:
            if label not in self._numbers:
                raise Unreadable(f"its label {label!r} was none of the labels when the file was opened")
            label = self._numbers[label]
        return Encoded(self.id(index), _stored(content), label)

    def fingerprint(self) -> str:
        """A hash of the files' names, rows and columns."""
        digest = hashlib.sha256(f"{self._content} {self._label}".encode())
        for file, number, rows, _ in self._groups:
            digest.update(f"{self._file_name(file)} {number} {rows}\0".encode())
        return digest.hexdigest()

    def containers(self) -> dict[str, str]:
        """The files, and the number of rows of each."""
        files: dict[str, int] = {}
        for file, _, rows, _ in self._groups:
            files[encode_name(file)] = files.get(encode_name(file), 0) + rows
        return {file: f"{rows} rows" for file, rows in files.items()}

    def _row_groups(self, schema: pa.Schema) -> Iterator[tuple[str, int, int, int]]:
        """(file, number of the group, its rows, rows of the file before it)."""
        for file in self._files:
            metadata = self._metadata(file)
            found = self._schema(file)
            for name in (self._content, self._label):
                if name is not None and (name not in found.names or found.field(name).type != schema.field(name).type):
                    raise DataError(
                        f"{self._named(file)} has another column {name!r} than {self._files[0]}; expected the same"
                    )
            self._note_names(file, found)
            before = 0
            for number in range(metadata.num_row_groups):
                rows = metadata.row_group(number).num_rows
                yield file, number, rows, before
                before += rows

    def _note_names(self, file: str, schema: pa.Schema) -> None:
        """Take the names of the classes from a file's note; numbers mean the same in all files."""
        noted = None if self._label is None else _noted_names(schema, self._label)
        if noted is None:
            return
        if self._noted not in (None, noted):
            raise DataError(
                f"{self._named(file)} names its classes otherwise than the files before it; expected the same names in "
                "the same order: put it into a folder of its own"
            )
        self._noted = noted

    def _class_names(self, schema: pa.Schema) -> tuple[tuple[str, ...] | None, dict[str, int]]:
        """Names of the classes, and the number of each where the labels are names."""
        if self._label is None:
            return None, {}
        kind = schema.field(self._label).type
        if pa.types.is_integer(kind):
            return self._noted, {}
        if _is_text(kind):
            try:
                columns = [self._column(file, self._label).unique().to_pylist() for file in self._files]
            except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
                raise DataError(f"{self.name}: the labels cannot be read ({one_line(error)})") from error
            names = sorted({name for column in columns for name in column if name is not None})
            return tuple(names), {name: number for number, name in enumerate(names)}
        raise DataError(f"{self.name}: column {self._label!r} is {kind}; expected whole numbers or names")

    def _column(self, file: str, name: str) -> pa.ChunkedArray:
        # As a dictionary, since names repeat themselves.
        with self._location.open_for_arrow(file) as stream, pq.ParquetFile(stream, read_dictionary=[name]) as table:
            return table.read([name])[name]

    def _metadata(self, file: str) -> pq.FileMetaData:
        try:
            with self._location.open_for_arrow(file) as stream:
                return pq.read_metadata(stream)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self._named(file)} is no readable Parquet file: {one_line(error)}") from error

    def _schema(self, file: str) -> pa.Schema:
        try:
            schema = self._metadata(file).schema.to_arrow_schema()
            names = schema.names  # decoded here
        except (UnicodeDecodeError, pa.ArrowException) as error:
            raise DataError(f"{self._named(file)} has columns that cannot be read: {one_line(error)}") from error
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(f"{self._named(file)} has several columns {twice[0]!r}; expected different names")
        return schema

    def _file_name(self, file: str) -> str:
        """Of a file of this table, encoded by `encode_name`."""
        return encode_name(file or os.path.basename(self._location.path()))

    def _named(self, file: str) -> str:
        return f"{self.name}/{file}" if file else self.name


def is_table(name: str) -> bool:
    """Whether a name in a folder is that of a table; Arrow, too, passes over those that begin like this."""
    return name.endswith(".parquet") and not name.startswith((".", "_"))


def _tables(folder: Location, left_out: LeftOut) -> list[str]:
    tables = []
    for name, kind in folder.entries():
        if name.startswith("."):
            left_out.add_hidden(kind, name)
        elif kind is not Kind.FILE:
            left_out.add(kind, name)
        elif is_table(name):
            tables.append(name)
        else:
            left_out.add(Kind.NO_TABLE, name)
    return tables


def _stored(content: Any) -> bytes:
    """A text in UTF-8, or an encoded image."""
    if isinstance(content, str):
        return content.encode()
    encoded = content["bytes"] if isinstance(content, dict) else content
    if encoded is None:
        raise Unreadable("the row holds a path and no image; expected the image itself")
    return bytes(encoded)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):  # pandas' categories
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_encoded(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _content_column(path: str, schema: pa.Schema) -> str:
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
        names: Any = note["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    if not isinstance(names, list):
        return None
    return tuple(encode_name(str(name)) for name in names)
