"""Named arrays of finished parts as .npz files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
from numpy.typing import NDArray

from gradmeter.errors import DataError, GradmeterError, one_line
from gradmeter.files import atomic_write

Arrays = dict[str, NDArray[Any]]


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays, compressed and atomically.

    Raises:
        OutputError: if the disk is full or the folder cannot be written.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path) -> Arrays:
    """Read the arrays that `write_arrays` wrote.

    Raises:
        DataError: if the file is missing or damaged.
    """
    return dict(_members(path, None))


def read_array(path: Path, name: str) -> NDArray[Any]:
    """Read one of the arrays that `write_arrays` wrote.

    Raises:
        DataError: if the file is missing or damaged, or does not hold the array.
    """
    return next(_members(path, [name]))[1]


def _members(path: Path, names: Collection[str] | None) -> Iterator[tuple[str, NDArray[Any]]]:
    """Iterate over the named arrays, or over all."""
    again = "delete it and run the same command again"
    try:
        # Given a path, NumPy would leave a damaged file open; given no archive, it would advise to unpickle it.
        with path.open("rb") as file:
            if not is_zipfile(file):
                raise DataError(f"{path} is damaged: it is not an .npz archive; {again}")
            file.seek(0)
            with np.load(file) as arrays:
                for name in arrays.files if names is None else names:
                    yield name, arrays[name]
    except (GradmeterError, MemoryError):
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read ({one_line(error)}); {again}") from error
    except Exception as error:  # on damaged files, libraries raise errors of any type
        raise DataError(f"{path} is damaged; {again}") from error
