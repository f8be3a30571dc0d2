"""Arrays that a classifier takes instead of images or texts: token ids, spectrograms, preprocessed batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gradmeter.errors import DataError, one_line

Arrays = dict[str, npt.NDArray[Any]]
"""One sample: the array of each argument of the network by name; "" is the only positional argument."""

_KINDS = {"i": "integers", "u": "integers", "f": "floats", "b": "booleans"}
# The most numbers of an array in a summary.
_SHOWN = 16


@dataclass(frozen=True)
class ArrayField:
    """The array of one argument of a network.

    Attributes:
        name: the argument; "" if it is the only, positional one.
        dtype: the type of the numbers in the archive.
        shape: the shape for one sample.
        low: the smallest of some of the numbers.
        high: the largest of them. In arrays of zeros and ones, such as masks, both are the more frequent number.
            Columns of integers may have different ranges, as categories have: these are then the limits of the range
            that is common to all columns, except for constant ones, if there is one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    low: float
    high: float

    @classmethod
    def of(cls, name: str, rows: npt.NDArray[Any]) -> ArrayField:
        """The field of some rows [K, ...] of an array."""
        numbers = rows[np.isfinite(rows)] if rows.dtype.kind == "f" else rows.ravel()
        low, high = (numbers.min().item(), numbers.max().item()) if numbers.size else (0, 1)
        if rows.dtype.kind == "b" or (rows.dtype.kind in "iu" and (low, high) == (0, 1)):
            low = high = int(numbers.mean() >= 0.5)
        elif rows.dtype.kind in "iu" and numbers.size and rows.ndim > 1:
            columns = rows.reshape(-1, rows.shape[-1])
            columns = columns[:, columns.min(axis=0) < columns.max(axis=0)]
            common = (columns.min(axis=0).max().item(), columns.max(axis=0).min().item()) if columns.size else (0, 0)
            low, high = common if common[0] < common[1] else (low, high)
        return cls(name, rows.dtype.newbyteorder("=").name, rows.shape[1:], low, high)

    @property
    def kind(self) -> str:
        """Integers, floats or booleans, in words."""
        return _KINDS[np.dtype(self.dtype).kind]

    def __str__(self) -> str:
        """Name, type and shape, in words."""
        return f"{f'{self.name}: ' if self.name else ''}{self.dtype} {list(self.shape)}"

    def noise(self, random: np.random.Generator) -> npt.NDArray[Any]:
        """A random array between `low` and `high`."""
        if self.kind == "floats":
            return (self.low + (self.high - self.low) * random.random(self.shape)).astype(self.dtype)
        return random.integers(int(self.low), int(self.high), self.shape, np.int64, endpoint=True).astype(self.dtype)


@dataclass(frozen=True)
class ArrayKind:
    """The arrays that a classifier takes, in the order of their names."""

    fields: tuple[ArrayField, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the arguments."""
        return tuple(field.name for field in self.fields)

    def __str__(self) -> str:
        """The fields, in words."""
        return ", ".join(map(str, self.fields))

    def accepts(self, other: ArrayKind) -> bool:
        """Whether other arrays have the same names, kinds of numbers and numbers of axes; sizes may differ."""
        return [(field.name, field.kind, len(field.shape)) for field in self.fields] == [
            (field.name, field.kind, len(field.shape)) for field in other.fields
        ]

    def noise(self, count: int) -> list[Arrays]:
        """Random samples, the same at every call."""
        random = np.random.default_rng(0)
        return [{field.name: field.noise(random) for field in self.fields} for _ in range(count)]

    def to_json(self) -> list[dict[str, Any]]:
        """The fields as JSON values."""
        return [asdict(field) for field in self.fields]

    @classmethod
    def from_json(cls, values: Sequence[Mapping[str, Any]]) -> ArrayKind:
        """Invert `to_json`.

        Raises:
            DataError: if the values are not from `to_json`.
        """
        try:
            fields = tuple(ArrayField(**{**value, "shape": tuple(map(int, value["shape"]))}) for value in values)
            kinds = [np.dtype(field.dtype).kind for field in fields]
            numbers = [number for field in fields for number in (field.low, field.high)]
            if (
                not fields
                or not {*kinds} <= {*_KINDS}
                or not all(isinstance(number, int | float) for number in numbers)
            ):
                raise ValueError("other types than of arrays of numbers")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the saved description of the network's arrays is damaged ({one_line(error)}); measure or fit again"
            ) from error
        return cls(fields)


def summary(sample: Arrays) -> str:
    """The first numbers of each array of a sample, in words."""
    parts = []
    for name, array in sample.items():
        numbers = ", ".join(f"{number:.4g}" for number in array.ravel()[:_SHOWN].tolist())
        more = ", ..." if array.size > _SHOWN else ""
        parts.append(f"{f'{name}: ' if name else ''}{array.dtype} {list(array.shape)}: {numbers}{more}")
    return "; ".join(parts)
