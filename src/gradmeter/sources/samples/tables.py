"""Parquet files as a source: encoded images or texts, with or without labels, as on the Hugging Face hub."""

from __future__ import annotations

import bisect
import hashlib
import io
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradmeter.errors import DataError, one_line
from gradmeter.names import encode_name
from gradmeter.sources.samples.decoding import ImageDecoder, decode_text
from gradmeter.sources.samples.file_versions import FileVersions
from gradmeter.sources.samples.left_out import Kind, LeftOut, is_hidden
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.registry import register_file_type
from gradmeter.sources.samples.rows import Rows
from gradmeter.sources.samples.sample import NO_LABEL, Encoded, Source, Unreadable
from gradmeter.sources.samples.splits import splits_of

_LABELS = ("label", "labels")
# The metadata in which Hugging Face's datasets library stores class names.
_METADATA = b"huggingface"

MOST = 2**32
"""The most rows of a source: a damaged file may state any number of rows."""


@register_file_type(".parquet")
class ParquetTable(Source):
    """The rows of one or several Parquet files.

    Columns are recognised by their types. Images are in a column of bytes, or of structs with a field `bytes`. Without
    such a column, the samples are texts, in the column of strings that is not the label. If there are several
    candidates, the column must be named `image` or `text`. The column `label` (or `labels`) holds names, or integers,
    also as floats or booleans, whose names may be in the metadata of the file, as Hugging Face's datasets library
    writes them; -1 stands for no label.

    Args:
        location: a Parquet file, or a folder of Parquet files, which are sorted by name.
        mode: "RGB" or "L", the mode of the decoded images.

    Raises:
        DataError: if there are no Parquet files, a file is damaged, or the columns have unexpected types.
    """

    def __init__(self, location: Location, mode: str = "RGB") -> None:
        path = self.name = location.name
        self._location = location
        # File names relative to the location; "" if the location is a file.
        left_out = LeftOut()
        self._files = _tables(location, left_out) if location.is_folder() else [""]
        if not self._files:
            raise DataError(f"{path} has no Parquet files; expected names that end in .parquet")
        parts = ", ".join(splits_of(self._files))
        together = f"its files are of several parts of a data set ({parts}), and are read as one" if parts else ""
        self.note = "; ".join(filter(None, [str(left_out), together]))
        schema = self._schema(self._files[0])
        self._content = _content_column(self._full_name(self._files[0]), schema)
        self.texts = _is_text(schema.field(self._content).type)
        self.decoder = decode_text if self.texts else ImageDecoder(mode)
        self._footers: dict[str, str] = {}
        self._schemas: dict[str, pa.Schema] = {}
        self._groups = list(self._row_groups(schema.field(self._content)))
        self._ends = list(itertools.accumulate(rows for _, _, rows, _ in self._groups))
        if not self._ends or not self._ends[-1]:
            raise DataError(f"{path} has no rows; expected at least one")
        if min(rows for _, _, rows, _ in self._groups) < 0 or self._ends[-1] > MOST:
            raise DataError(f"{path} claims to have {self._ends[-1]:,} rows; expected at most {MOST:,}")
        file, label = self._label_column()
        self.classes: tuple[str, ...] | None = None
        self._numbers: dict[str, int] = {}
        if label is not None:
            try:
                self.classes, self._numbers = self._class_names(label, file)
            except DataError as error:
                label, self.invalid_labels = None, str(error)
        self.labelled = label is not None
        self._label = None if label is None else label.name
        read = [schema.field(self._content), *([] if label is None else [label])]
        self._rows = Rows(location, pa.schema(read))
        empty = [name for name in _LABELS if name in schema.names and pa.types.is_null(schema.field(name).type)]
        others = [f for f in schema if f not in read and f.name not in empty]
        self.columns = tuple(field.name for field in others if not pa.types.is_nested(field.type))

    def __len__(self) -> int:
        """The number of rows."""
        return self._ends[-1]

    def id(self, index: int) -> str:
        """The name of the file and the index of the row in it."""
        group = bisect.bisect_right(self._ends, index)
        file, _, rows, before = self._groups[group]
        return f"{self._file_name(file)}:{before + index - (self._ends[group] - rows)}"

    def fetch(self, index: int) -> Encoded:
        """Read one row; see `Rows` for the cost of reading out of order."""
        group = bisect.bisect_right(self._ends, index)
        file, number, rows, _ = self._groups[group]
        row = self._rows.row(file, number, index - (self._ends[group] - rows))
        try:
            content = row[self._content].as_py()
            label = None if self._label is None else row[self._label].as_py()
        except UnicodeDecodeError as error:
            raise Unreadable(f"not UTF-8 text: {one_line(error)}") from error
        if content is None:
            raise Unreadable("the row is empty")
        if isinstance(label, float | bool):
            label = int(label) if math.isfinite(label) else None
        if label == NO_LABEL:
            label = None
        if self._numbers and label is not None:
            if label not in self._numbers:
                raise Unreadable(f"its file was replaced while it was read; it had no label {label!r} before")
            label = self._numbers[label]
        return Encoded(self.id(index), _to_bytes(content), label)

    def column(self, name: str) -> Iterator[str | None]:
        """The values of another column as texts; None where it has none, an empty one or NaN."""
        kinds = {}
        for file in self._files:
            schema = self._schema(file)
            if name not in schema.names:
                raise DataError(
                    f"{self._full_name(file)} has no column {name!r}; expected the same columns in all files"
                )
            if not pa.types.is_null(kind := schema.field(name).type):
                kinds["text" if _is_text(kind) else str(kind)] = file
        if len(kinds) > 1:
            given = ", ".join(f"{kind} in {encode_name(file)}" for kind, file in kinds.items())
            raise DataError(f"{self.name}: column {name!r} is {given}; expected the same type in all files")
        for file in self._files:
            try:
                column = self._column(file, name)
                texts = pc.if_else(pc.is_null(column, nan_is_null=True), None, column.cast(pa.string()))
                values = [text or None for chunk in texts.chunks for text in chunk.to_pylist()]
            except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
                raise DataError(
                    f"{self._full_name(file)}: column {name!r} cannot be read ({one_line(error)})"
                ) from error
            yield from values

    def fingerprint(self) -> str:
        """A hash of the names of files and columns, the numbers of rows, and what else the files say of their rows."""
        digest = hashlib.sha256(f"{self._content} {self._label}".encode())
        for file, number, rows, _ in self._groups:
            digest.update(f"{self._file_name(file)} {self._footers[file]} {number} {rows}\0".encode())
        return digest.hexdigest()

    def containers(self) -> dict[str, str]:
        """The files and a hash of what each says of its rows: their number, and sizes and ranges of the columns."""
        return {encode_name(file): self._footers[file] for file, *_ in self._groups}

    def file_versions(self) -> FileVersions:
        """The versions of the Parquet files: a label may be corrected, for example, and the footer stay the same."""
        return FileVersions.of(
            zip(map(self._file_name, self._files), self._location.versions(self._files), strict=True)
        )

    def _row_groups(self, content: pa.Field) -> Iterator[tuple[str, int, int, int]]:
        """Check the files; yield (file, index of the row group, its rows, rows of the file before it)."""
        for file in self._files:
            metadata = self._metadata(file)
            self._footers[file] = _hash(metadata)
            self._schemas[file] = self._schema(file)
            self._require_column(file, content, self._files[0])
            before = 0
            for number in range(metadata.num_row_groups):
                rows = metadata.row_group(number).num_rows
                yield file, number, rows, before
                before += rows

    def _label_column(self) -> tuple[str, pa.Field | None]:
        """The first file that has labels, and their column; None if there are none."""
        for file, schema in self._schemas.items():
            for name in _LABELS:
                # Arrow gives a column the null type if all its values are missing: then there are no labels.
                if name in schema.names and name != self._content and not pa.types.is_null(schema.field(name).type):
                    return file, schema.field(name)
        return "", None

    def _require_column(self, file: str, field: pa.Field, other: str) -> None:
        """Require that a file has a column with the name and type of a column in another file."""
        schema = self._schemas[file]
        if field.name not in schema.names or schema.field(field.name).type != field.type:
            raise DataError(
                f"{self._full_name(file)}: column {field.name!r} is missing or of another type than in "
                f"{other}; expected the same columns in all files"
            )

    def _names_in_metadata(self, label: str) -> tuple[str, ...] | None:
        """The class names in the metadata of the files; they must be the same in all files that have them."""
        found: tuple[str, ...] | None = None
        for file, schema in self._schemas.items():
            names = _metadata_names(schema, label)
            if found is not None and names not in (None, found):
                raise DataError(
                    f"{self._full_name(file)} has other class names than the files before it; expected the same names "
                    "in the same order: move it to another folder"
                )
            found = found or names
        return found

    def _class_names(self, label: pa.Field, first: str) -> tuple[tuple[str, ...] | None, dict[str, int]]:
        """The class names, and a mapping from name to number if the labels are names; `first` is a file with labels."""
        for file in self._files:
            self._require_column(file, label, first)
        in_metadata = self._names_in_metadata(label.name)
        advice = "expected integers or names: rename the column if it holds no classes"
        if pa.types.is_integer(label.type) or pa.types.is_boolean(label.type):
            return in_metadata, {}
        if not _is_text(label.type) and not pa.types.is_floating(label.type):
            raise DataError(f"{self.name}: column {label.name!r} is {label.type}; {advice}")
        try:
            columns = [self._column(file, label.name).unique().to_pylist() for file in self._files]
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
            raise DataError(f"{self.name}: the labels cannot be read ({one_line(error)})") from error
        labels = {value for column in columns for value in column if value is not None}
        if _is_text(label.type):
            names = sorted(labels)
            return tuple(names), {name: number for number, name in enumerate(names)}
        # pandas turns integers into floats if some are missing.
        if others := sorted(value for value in labels if not (math.isnan(value) or _is_integer(value))):
            raise DataError(f"{self.name}: column {label.name!r} contains {others[0]:g}; {advice}")
        return in_metadata, {}

    def _column(self, file: str, name: str) -> pa.ChunkedArray:
        # Names repeat, so a dictionary needs less memory.
        with self._location.open_for_arrow(file) as stream, pq.ParquetFile(stream, read_dictionary=[name]) as table:
            return table.read([name])[name]

    def _metadata(self, file: str) -> pq.FileMetaData:
        try:
            with self._location.open_for_arrow(file) as stream:
                return pq.read_metadata(stream)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self._full_name(file)} is not a readable Parquet file: {one_line(error)}") from error

    def _schema(self, file: str) -> pa.Schema:
        try:
            schema = self._metadata(file).schema.to_arrow_schema()
            names = schema.names  # raises UnicodeDecodeError for invalid names
        except (UnicodeDecodeError, pa.ArrowException) as error:
            raise DataError(f"{self._full_name(file)} has columns that cannot be read: {one_line(error)}") from error
        if duplicates := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(f"{self._full_name(file)} has several columns {duplicates[0]!r}; expected unique names")
        return schema

    def _file_name(self, file: str) -> str:
        """The name of a file for ids, encoded by `encode_name`."""
        return encode_name(file or os.path.basename(self._location.path()))

    def _full_name(self, file: str) -> str:
        return f"{self.name}/{file}" if file else self.name


def is_table(name: str) -> bool:
    """Whether a file name is that of a table. As in Arrow, names that begin with "." or "_" are ignored."""
    return name.endswith(".parquet") and not name.startswith((".", "_"))


def _tables(folder: Location, left_out: LeftOut) -> list[str]:
    tables = []
    for name, kind in folder.entries():
        if is_hidden(name):
            left_out.add_hidden(kind, name)
        elif kind is not Kind.FILE:
            left_out.add(kind, name)
        elif is_table(name):
            tables.append(name)
        else:
            left_out.add(Kind.NO_TABLE, name)
    return tables


def _hash(metadata: pq.FileMetaData) -> str:
    stream = io.BytesIO()
    metadata.write_metadata_file(stream)
    return hashlib.sha256(stream.getvalue()).hexdigest()


def _to_bytes(content: Any) -> bytes:
    """The value of a row as bytes: a text in UTF-8, or an encoded image."""
    if isinstance(content, str):
        return content.encode()
    encoded = content["bytes"] if isinstance(content, dict) else content
    if encoded is None:
        raise Unreadable("the row holds a path but no image; expected the encoded image in the field bytes")
    return bytes(encoded)


def _is_integer(value: float) -> bool:
    """Whether a float stands for one integer; larger ones stand for many."""
    return value.is_integer() and abs(value) <= 2**53


def _is_text(data_type: pa.DataType) -> bool:
    if pa.types.is_dictionary(data_type):  # categories of pandas
        return _is_text(data_type.value_type)
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(check(data_type) for check in checks)


def _is_image(data_type: pa.DataType) -> bool:
    if pa.types.is_struct(data_type) and data_type.get_field_index("bytes") >= 0:
        data_type = data_type.field("bytes").type
    checks = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(check(data_type) for check in checks)


def _content_column(path: str, schema: pa.Schema) -> str:
    """The name of the column of images, or of texts if there are no images."""
    images = [field.name for field in schema if _is_image(field.type)]
    texts = [field.name for field in schema if _is_text(field.type) and field.name not in _LABELS]
    for columns, default in ((images, "image"), (texts, "text")):
        if len(columns) > 1 and default not in columns:
            raise DataError(
                f"{path} has several columns of {default}s ({', '.join(columns)}); expected one, or one named {default}"
            )
        if columns:
            return default if default in columns else str(columns[0])
    raise DataError(f"{path} has columns {', '.join(schema.names)}; expected a column of encoded images or of texts")


def _metadata_names(schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """The class names in the metadata written by Hugging Face's datasets library; None if there are none."""
    try:
        metadata: Any = json.loads((schema.metadata or {})[_METADATA])
        names: Any = metadata["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    if not isinstance(names, list):
        return None
    return tuple(encode_name(str(name)) for name in names)
