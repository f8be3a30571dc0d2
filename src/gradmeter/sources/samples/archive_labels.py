"""Read the arrays `labels` and `class_names` of an `.npz` archive."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradmeter.errors import DataError
from gradmeter.names import encode_name
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.npz import Array, read_arrays
from gradmeter.sources.samples.sample import NO_LABEL

LABELS, NAMES = "labels", "class_names"
"""Names of the two arrays."""


@dataclass(frozen=True)
class ArchiveLabels:
    """The labels of an archive.

    Attributes:
        numbers: the labels [N], `NO_LABEL` for samples without one; None if there are none that can be used.
        classes: the names of their classes; None if there are none.
        invalid: see `Source.invalid_labels`.
    """

    numbers: npt.NDArray[np.int64] | None
    classes: tuple[str, ...] | None = None
    invalid: str = ""

    @classmethod
    def read(cls, location: Location, count: int) -> ArchiveLabels:
        """Read the labels of an archive and check them.

        Args:
            location: the archive.
            count: the number of samples.
        """
        path = location.name
        try:
            with location.open() as file:
                arrays = read_arrays(path, (LABELS, NAMES), file)
            numbers = _checked_labels(path, arrays.get(LABELS), count)
            if numbers is None:
                return cls(None)
            classes = _class_names(path, arrays.get(NAMES))
            if classes is not None and numbers.max() >= len(classes):
                raise DataError(
                    f"{path}: the largest label is {numbers.max()}, but there are {len(classes)} class names; "
                    "expected a name for each class"
                )
        except DataError as error:
            return cls(None, invalid=str(error))
        return cls(numbers, classes)

    def __getitem__(self, index: int) -> int | None:
        """The label of one sample."""
        label = NO_LABEL if self.numbers is None else int(self.numbers[index])
        return None if label == NO_LABEL else label


def _class_names(path: str, names: Array | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind not in "USiu":
        raise DataError(
            f"{path}: class_names have dtype {names.dtype} and shape {names.shape}; expected a string for each class"
        )
    return tuple(encode_name(os.fsdecode(name) if isinstance(name, bytes) else str(name)) for name in names.tolist())


def _checked_labels(path: str, labels: Array | None, count: int) -> npt.NDArray[np.int64] | None:
    if labels is None:
        return None
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: labels have dtype {labels.dtype} and shape {labels.shape}; expected an integer for each of the "
            f"{count:,} samples{_advice(labels, count)}; leave the array out if it holds no classes"
        )
    if labels.min() < NO_LABEL or labels.max() > np.iinfo(np.int64).max:
        raise DataError(
            f"{path}: labels range from {labels.min()} to {labels.max()}; expected class numbers from 0 on, or "
            f"{NO_LABEL} for a sample without a label"
        )
    return np.ascontiguousarray(labels, np.int64)


def _advice(labels: Array, count: int) -> str:
    """How to make integers [count] of labels of another type or shape; empty if that is not clear."""
    if labels.shape == (count, 1):
        return ", as labels[:, 0]"
    if labels.ndim == 2 and len(labels) == count and labels.dtype.kind in "biuf":
        is_one_hot = bool(np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all())
        return ", as from argmax(1)" if is_one_hot else ""
    if labels.shape != (count,):
        return ""
    if labels.dtype.kind in "US" and not np.char.isdigit(labels).all():
        return ", as class_names, labels = numpy.unique(labels, return_inverse=True) gives them"
    are_whole = labels.dtype.kind not in "fc" or bool((labels == np.rint(labels)).all())
    return ", as from astype(int)" if are_whole else ""
