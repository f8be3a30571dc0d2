"""Read arrays of an `.npz` archive; pickled objects are refused."""

from __future__ import annotations

import errno
import os
import sys
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from gradmeter.errors import DataError, GradmeterError, one_line

Array = npt.NDArray[Any]

# The most characters of a library's message to pass on; some hold the whole header of an array.
_LONGEST = 200
# Arguments of an OSError for damaged data: of bz2, and where zipfile seeks a position before the file.
_DAMAGED = (("Invalid data stream",), (errno.EINVAL, os.strerror(errno.EINVAL)))


def read_arrays(path: Path | str, wanted: Collection[str], file: IO[bytes] | None = None) -> dict[str, Array]:
    """Read the wanted arrays of an archive. Other arrays are not read; their names map to empty arrays.

    Args:
        path: the path of the archive; only its name in messages if `file` is given.
        wanted: the names of the arrays to read.
        file: the open archive, for one that is not a local file.

    Raises:
        DataError: if the archive is damaged, a wanted array holds Python objects, or they exceed the memory.
    """
    source = path if file is None else file
    array_names(path, source)
    with refuse_damage(path), np.load(source, allow_pickle=False) as archive:
        _require_memory(path, archive, wanted)
        # np.load returns a member that is not an array as bytes.
        return {name: _read(path, archive, name) if name in wanted else np.empty(0) for name in archive.files}


def array_names(path: Path | str, file: Path | str | IO[bytes]) -> list[str]:
    """The names of the arrays of an archive, which may be open.

    Raises:
        DataError: if it is not an archive, or cannot be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception as error:  # as in `refuse_damage`
        _require_read(path, error)
        raise DataError(f"{path} is truncated or not an .npz archive; copy or create it again") from error


@contextmanager
def refuse_damage(path: Path | str) -> Iterator[None]:
    """Raise errors of NumPy, zipfile and decompressors in the block as DataError.

    Raises:
        DataError: if the archive is damaged, or could not be read.
    """
    try:
        yield
    except GradmeterError:
        raise
    except Exception as error:  # on damaged files, libraries raise errors of any type
        _require_read(path, error)
        # On further lines, NumPy may advise to unpickle the file.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path} is damaged ({reason:.{_LONGEST}}); copy or create it again") from error


def _require_read(path: Path | str, error: Exception) -> None:
    """Check that an error is one of an archive's content.

    Raises:
        DataError: if the archive could not be read; it may be whole.
    """
    # zipfile says of an archive that it cannot read that it is none.
    cause = error.__context__ if isinstance(error, zipfile.BadZipFile) else error
    if isinstance(cause, OSError) and cause.args not in _DAMAGED:
        raise DataError(
            f"{path} cannot be read ({one_line(cause)}); when it can, run the same command again"
        ) from error


def _read(path: Path | str, archive: Any, name: str) -> Array:
    """One array of an open archive."""
    try:
        array = np.asarray(archive[name])
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise DataError(
            f"{path}: {name} holds Python objects; expected numbers or texts: save it with such a type, as from "
            "astype(int) or astype(str)"
        ) from error
    # A file of no size may have any number of them.
    if not array.dtype.itemsize:
        raise DataError(f"{path}: {name} has dtype {array.dtype} of no size; expected numbers or texts")
    if array.dtype.kind == "U" and array.size:
        characters = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).view(np.uint32)
        if characters.max() > sys.maxunicode:
            raise DataError(f"{path}: {name} holds texts with invalid characters; copy or create it again")
    return array


def _require_memory(path: Path | str, archive: Any, wanted: Collection[str]) -> None:
    """Refuse arrays larger than the memory of this machine: a few kilobytes may unpack to many gigabytes."""
    size = sum(member.file_size for member in archive.zip.infolist() if member.filename.removesuffix(".npy") in wanted)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise DataError(
            f"{path} holds arrays of {size / 2**30:,.0f} GiB, but this machine has {memory / 2**30:,.0f} GiB of "
            "memory; save arrays without compression (numpy.savez), or convert images to a folder or to Parquet files"
        )
