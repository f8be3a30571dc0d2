"""Recognise the usual names of the parts into which a data set is split for training and testing."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPLITS = ("train", "training", "test", "testing", "eval", "evaluation", "val", "valid", "validation", "dev")
_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(_SPLITS)})(?![a-z])", re.IGNORECASE)


def are_splits(classes: Sequence[str]) -> bool:
    """Whether what was taken for classes is named after several parts of a data set."""
    return len(classes) > 1 and all(name.lower() in _SPLITS for name in classes)


def splits_of(files: Sequence[str]) -> list[str]:
    """The parts of a data set after which files are named, as `train-00000-of-00002.parquet` is.

    Returns:
        Their names, sorted; empty unless there are at least two. Other files may be of a part with a name of its own,
        as "unsupervised" is.
    """
    splits = {match[0].lower() for name in files if (match := _SPLIT.search(name)) is not None}
    return sorted(splits) if len(splits) > 1 else []
