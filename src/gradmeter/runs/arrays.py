"""Named arrays of finished parts as .npz files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray

from gradmeter.errors import DataError
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
    try:
        # Given a path, NumPy would leave a damaged file open.
        with path.open("rb") as file, np.load(file) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile, ZlibError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete it and run the same command again") from error
