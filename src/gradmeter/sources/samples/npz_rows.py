"""Rows of an array in an `.npz` archive: read from the file one at a time if possible, else in memory."""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, Any, Protocol

import numpy as np

from gradmeter.errors import DataError, one_line
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.npz import Array, read_arrays, refuse_damage
from gradmeter.sources.samples.sample import Unreadable

# Bytes to hash at once.
_CHUNK = 2**22
# The fixed part of the header of a member: 30 bytes, at whose end are the lengths of the name and of extra fields.
_HEADER, _LENGTHS = 30, struct.Struct("<HH")
_ENCRYPTED = 1
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class ArrayRows(Protocol):
    """An array [N, ...] whose rows are read one at a time; it can be pickled."""

    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102

    def row(self, index: int) -> bytes:
        """The bytes of one row, in C order.

        Raises:
            Unreadable: if it cannot be read.
        """

    def chunks(self) -> Iterator[bytes]:
        """The bytes of all rows in order, in chunks.

        Raises:
            DataError: if the archive is damaged.
        """


def open_rows(location: Location, names: Sequence[str]) -> dict[str, ArrayRows]:
    """The arrays of an archive with these names.

    Arrays of a local archive that are not compressed, as `numpy.savez` writes them, stay in the file; others are read
    into memory.

    Raises:
        DataError: if the archive is damaged, an array holds Python objects, or those to be read exceed the memory.
    """
    with location.open() as file:
        in_file = {name: rows for name in names if (rows := _in_file(location, name, file)) is not None}
        rest = [name for name in names if name not in in_file]
        in_memory = read_arrays(location.name, rest, file) if rest else {}
    return {name: in_file[name] if name in in_file else _InMemory(in_memory[name]) for name in names}


class _InMemory:
    """The rows of an array in memory."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self.dtype, self.shape = array.dtype, array.shape

    def row(self, index: int) -> bytes:
        return bytes(self._array[index].tobytes())

    def chunks(self) -> Iterator[bytes]:
        for index in range(len(self._array)):
            yield self.row(index)


class _InFile:
    """The rows of an array that is stored without compression.

    Args:
        location: the archive, a local file.
        member: the name of the array's file in the archive.
        offset: where its numbers begin, in bytes from the start of the archive.
        dtype: the type of its numbers.
        shape: its shape.
        version: `_version` of the open archive.
    """

    def __init__(
        self,
        location: Location,
        member: str,
        offset: int,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        version: tuple[int, ...],
    ) -> None:
        self._location, self._member, self._offset, self._version = location, member, offset, version
        self.dtype, self.shape = dtype, shape
        self._row_bytes = dtype.itemsize * math.prod(shape[1:])

    def row(self, index: int) -> bytes:
        try:
            with self._location.open() as file:
                is_same = _version(file) == self._version
                content = os.pread(file.fileno(), self._row_bytes, self._offset + index * self._row_bytes)
        except OSError as error:
            self._location.require_present()
            raise Unreadable(f"its archive cannot be read: {one_line(error)}") from error
        # Other rows would be of another file, too.
        if not is_same or len(content) != self._row_bytes:
            raise DataError(f"{self._location.name} was changed while it was read; run the same command again")
        return content

    def chunks(self) -> Iterator[bytes]:
        size = math.prod(self.shape[:1]) * self._row_bytes
        with (
            refuse_damage(self._location.name),
            self._location.open() as file,
            zipfile.ZipFile(file) as archive,
            archive.open(self._member) as member,
        ):
            # Not seek, after which zipfile no longer compares the checksum of the member.
            member.read(archive.getinfo(self._member).file_size - size)
            while chunk := member.read(_CHUNK):
                yield chunk


def _version(file: IO[bytes]) -> tuple[int, ...]:
    """Numbers that change when a file is replaced or written to."""
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


def _in_file(location: Location, name: str, file: IO[bytes]) -> _InFile | None:
    """The rows of an array in an open archive; None if it has to be read into memory, or is damaged."""
    if not location.is_local:
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            info = archive.getinfo(f"{name}.npy")
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
                return None
            with archive.open(info) as member:
                read_header = _HEADER_READERS.get(np.lib.format.read_magic(member))
                if read_header is None:
                    return None
                shape, fortran_order, dtype = read_header(member)
                start = member.tell()
        size = math.prod(shape) * dtype.itemsize
        if fortran_order or dtype.hasobject or min(shape, default=-1) < 0 or size != info.file_size - start:
            return None
        descriptor = file.fileno()
        lengths = os.pread(descriptor, _LENGTHS.size, info.header_offset + _HEADER - _LENGTHS.size)
        offset = info.header_offset + _HEADER + sum(_LENGTHS.unpack(lengths)) + start
        if offset + size > os.fstat(descriptor).st_size:
            return None
        return _InFile(location, info.filename, offset, dtype, shape, _version(file))
    except Exception:  # of any type; `read_arrays` explains the damage
        return None
