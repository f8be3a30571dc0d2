"""Arrays of many rows in temporary files, so that memory does not grow with their number."""

from __future__ import annotations

import math
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gradmeter.errors import OutputError


def on_disk(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array in a temporary file, which is gone when the process ends; its content is undefined.

    The folder is that of `tempfile`, which the environment variable TMPDIR sets.

    Args:
        shape: the shape; of no rows, the array is in memory.
        dtype: type of the numbers.

    Raises:
        OutputError: if the file cannot be made, for example because the disk is full.
    """
    if 0 in shape:
        return np.empty(shape, dtype)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile() as file:  # the mapping keeps its own handle
            if hasattr(os, "posix_fallocate"):  # else a full disk kills the process when it writes (SIGBUS)
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "w+", shape=shape)
    except OSError as error:
        raise OutputError(
            f"cannot make a temporary file of {size:,} bytes ({error.strerror}); make room, or set TMPDIR to a folder "
            "with more of it"
        ) from error
