"""An `.npz` archive of arrays that go to the network as they are: token ids, spectrograms, tokenised texts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from gradmeter.errors import DataError
from gradmeter.names import listed
from gradmeter.sources.samples.archive_columns import read_column
from gradmeter.sources.samples.archive_labels import LABELS, NAMES, ArchiveLabels
from gradmeter.sources.samples.array_kind import ArrayField, ArrayKind, Arrays
from gradmeter.sources.samples.arrays import IMAGES
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.npz_rows import ArrayRows, open_rows
from gradmeter.sources.samples.sample import Encoded, Source

INPUTS = "inputs"
"""Name of the array that is the network's positional argument, and prefix of arrays that are named arguments."""
_PREFIX = f"{INPUTS}:"
# Arguments of networks of transformers, as its tokenizers and feature extractors name them. One of the first must be
# among the arrays; the others alone are no inputs.
_MAIN = ("input_ids", "inputs_embeds", "input_values", "input_features", "pixel_values")
_BESIDE = ("attention_mask", "token_type_ids", "position_ids", "pixel_mask", "bbox")
# The number of rows that are read to learn the range of the numbers.
_PROBED = 64
# Bytes of a number of the largest type that PyTorch has.
_LARGEST_NUMBER = 8
# The most names of unused arrays in a note.
_NAMED = 3


def argument_arrays(path: str, names: Collection[str]) -> dict[str, str]:
    """The arrays that go to the network, by the name of the argument; empty if there are none.

    Raises:
        DataError: if it is ambiguous which arrays they are.
    """
    main = [name for name in _MAIN if name in names]
    arguments = {name: name for name in (*main, *_BESIDE) if main and name in names}
    arguments |= {name.removeprefix(_PREFIX): name for name in names if name.startswith(_PREFIX)}
    if INPUTS in names:
        beside = [name for name in names if name in (*_MAIN, *_BESIDE) or name.startswith(_PREFIX)]
        if beside:
            raise DataError(
                f"{path} has the arrays {INPUTS!r} and {beside[0]!r}; expected one array {INPUTS!r}, or an array "
                f"'{_PREFIX}NAME' for each argument of the network"
            )
        arguments = {"": INPUTS}
    if arguments and IMAGES in names:
        raise DataError(
            f"{path} has the arrays {IMAGES!r} and {next(iter(arguments.values()))!r}; expected either images, or "
            "arrays that go to the network as they are"
        )
    for argument, name in arguments.items():
        if name != INPUTS and not argument.isidentifier():
            raise DataError(f"{path} has an array {name!r}; expected '{_PREFIX}NAME' for an argument NAME")
    return dict(sorted(arguments.items()))


class ArrayArchive(Source):
    """The array `inputs` [N, ...], or arrays for several arguments of the network, and optional labels.

    Integers go to the network as int64, floats in the type of its weights, booleans as they are. `labels` is [N],
    integers from 0 that index `class_names`, if there are any, or -1 for a sample without a label.

    Args:
        location: the archive.
        arguments: `argument_arrays` of its arrays.
        others: the names of all its arrays.

    Raises:
        DataError: if the archive is damaged or its arrays have other types or shapes.
    """

    def __init__(self, location: Location, arguments: Mapping[str, str], others: Collection[str] = ()) -> None:
        path = self.name = location.name
        self._location = location
        self._arrays = open_rows(location, list(arguments.values()))
        self._arguments = dict(arguments)
        for name, rows in self._arrays.items():
            _check(path, name, rows)
        counts = {name: rows.shape[0] for name, rows in self._arrays.items()}
        self._count = next(iter(counts.values()))
        for name, count in counts.items():
            if count != self._count:
                raise DataError(
                    f"{path}: {name} has {count:,} rows, but {next(iter(counts))} has {self._count:,}; expected as many"
                )
        probed = np.unique(np.linspace(0, self._count - 1, min(_PROBED, self._count)).round().astype(int)).tolist()
        self.decoder = _Split(
            {argument: (rows.dtype.str, rows.shape[1:]) for argument, rows in self._by_argument().items()}
        )
        samples = [self.decoder(self._content(index)) for index in probed]
        self.arrays = ArrayKind(
            tuple(ArrayField.of(name, np.stack([sample[name] for sample in samples])) for name in arguments)
        )
        self._labels = ArchiveLabels.read(location, self._count)
        self.classes, self.labelled = self._labels.classes, self._labels.numbers is not None
        self.invalid_labels = self._labels.invalid
        self.columns = tuple(name for name in others if name not in (*arguments.values(), LABELS, NAMES))
        arrays = f"the array{'s' * (len(self.columns) > 1)} {listed(self.columns, _NAMED)}"
        self.note = f"the network does not get {arrays}" if self.columns else ""
        self._hash: str | None = None

    def __len__(self) -> int:
        """The number of samples."""
        return self._count

    def id(self, index: int) -> str:
        """The index of the row."""
        return str(index)

    def fetch(self, index: int) -> Encoded:
        """The bytes of one row of each array."""
        return Encoded(self.id(index), self._content(index), self._labels[index])

    def column(self, name: str) -> Iterator[str | None]:
        """The values of another array [N] as texts; None for an empty one or NaN."""
        return read_column(self._location, name, self._count)

    def fingerprint(self) -> str:
        """A hash of the arrays and labels."""
        if self._hash is None:
            digest = hashlib.sha256()
            for argument, rows in self._by_argument().items():
                digest.update(f"{argument} {rows.dtype} {rows.shape}\0".encode())
                for chunk in rows.chunks():
                    digest.update(chunk)
            if self._labels.numbers is not None:
                digest.update(self._labels.numbers.data)
            self._hash = digest.hexdigest()
        return self._hash

    def _content(self, index: int) -> bytes:
        return b"".join(rows.row(index) for rows in self._by_argument().values())

    def _by_argument(self) -> dict[str, ArrayRows]:
        return {argument: self._arrays[name] for argument, name in self._arguments.items()}


@dataclass(frozen=True)
class _Split:
    """Decodes the bytes of one row of each array.

    Attributes:
        arrays: dtype and shape of the row of each array, by argument.
    """

    arrays: dict[str, tuple[str, tuple[int, ...]]]

    def __call__(self, content: bytes) -> Arrays:
        sample, start = {}, 0
        for argument, (dtype, shape) in self.arrays.items():
            count = math.prod(shape)
            array = np.frombuffer(content, dtype, count, start)
            sample[argument] = array.reshape(shape)
            start += array.nbytes
        return sample


def _check(path: str, name: str, rows: ArrayRows) -> None:
    """Check the type and shape of an array; raises `DataError`."""
    given = f"{path}: {name} has dtype {rows.dtype} and shape {rows.shape}"
    if rows.dtype.kind in "US":
        raise DataError(f"{given}; expected numbers: give texts as Parquet to a model hf:NAME, or save token ids")
    if rows.dtype.kind == "c":
        raise DataError(f"{given}; expected real numbers: save real and imaginary parts along an axis")
    if rows.dtype.kind not in "iufb":
        raise DataError(f"{given}; expected integers, floats or booleans")
    if rows.dtype.itemsize > _LARGEST_NUMBER:  # a long double
        raise DataError(f"{given}; expected numbers of at most 64 bits: save it as float64")
    if not rows.shape or 0 in rows.shape:
        raise DataError(f"{given}; expected [N, ...] with at least one sample and no empty axis")
