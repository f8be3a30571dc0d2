"""Arrays of many rows in temporary files, so that memory does not grow with their number."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def on_disk(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array in a temporary file, which is gone when the process ends; its content is undefined.

    The folder is that of `tempfile`, which the environment variable TMPDIR sets.

    Args:
        shape: the shape; of no rows, the array is in memory.
        dtype: type of the numbers.
    """
    if 0 in shape:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:  # the mapping keeps its own handle
        return np.memmap(file, dtype, "w+", shape=shape)
