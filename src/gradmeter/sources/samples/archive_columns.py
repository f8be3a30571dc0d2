"""Arrays of an `.npz` archive that hold a value of each sample, such as its patient."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from gradmeter.errors import DataError
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.npz import read_arrays

# Texts of missing values of NumPy and pandas.
_MISSING = ("", "nan", "None", "NaT", "<NA>")


def read_column(location: Location, name: str, count: int) -> Iterator[str | None]:
    """The values of an array [count] as texts; None for NaN, and for an empty text or that of a missing value.

    Raises:
        DataError: if the archive is damaged, or the array has another type or shape.
    """
    with location.open() as file:
        column = read_arrays(location.name, (name,), file)[name]
    # A datetime64 without a unit has no text.
    if column.shape != (count,) or column.dtype.kind not in "USiufbM" or column.dtype == "M8":
        raise DataError(
            f"{location.name}: {name} has dtype {column.dtype} and shape {column.shape}; expected a text or number for "
            f"each of the {count:,} samples"
        )
    # NaN and the missing time differ from themselves.
    return (None if value != value or (text := _text(value)) in _MISSING else text for value in column)


def _text(value: np.generic) -> str:
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)
