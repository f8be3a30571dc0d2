"""Files that a study wrote itself, and writes again if they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from safetensors import SafetensorError

from gradmeter.errors import DataError

_DAMAGED = OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException, SafetensorError


@contextmanager
def own_file(path: Path) -> Iterator[None]:
    """Run code that reads a file.

    Raises:
        DataError: if the file cannot be read, or does not hold what the code expects.
    """
    try:
        yield
    except _DAMAGED as error:
        raise DataError(f"{path} cannot be read ({error}); delete it and run the same command again") from error
