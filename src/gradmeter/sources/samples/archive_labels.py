"""Check the arrays `labels` and `class_names` of an `.npz` archive."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from gradmeter.errors import DataError
from gradmeter.names import encode_name
from gradmeter.sources.samples.npz import Array

LABELS, NAMES = "labels", "class_names"
"""Names of the two arrays."""


def checked_labels(
    path: str, arrays: dict[str, Array], count: int
) -> tuple[npt.NDArray[np.int64] | None, tuple[str, ...] | None]:
    """The labels [count] of an archive and the names of their classes; None for each that it does not have.

    Args:
        path: the name of the archive, for messages.
        arrays: its arrays by name.
        count: the number of samples.

    Raises:
        DataError: if the labels or names have another type or shape, or a label has no name.
    """
    labels = _checked_labels(path, arrays.get(LABELS), count)
    if labels is None:
        return None, None
    classes = _class_names(path, arrays.get(NAMES))
    if classes is not None and labels.max() >= len(classes):
        raise DataError(
            f"{path}: the largest label is {labels.max()}, but there are {len(classes)} class names; "
            "expected a name for each class"
        )
    return labels, classes


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
    if labels.min() < 0 or labels.max() > np.iinfo(np.int64).max:
        raise DataError(f"{path}: labels range from {labels.min()} to {labels.max()}; expected class numbers from 0 on")
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
