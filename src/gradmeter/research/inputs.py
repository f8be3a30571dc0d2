"""Checks of the folders and names that an experiment in parts is given."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from gradmeter.errors import DataError, InputError


def require_settings(kind: str, chosen: Sequence[str], known: Collection[str], share: float, data: Path) -> None:
    """Check the parts that are chosen, the share of the inputs and the folder of the archives.

    Args:
        kind: what a part is called.
        chosen: names of parts.
        known: names of all parts.
        share: share of the inputs to use.
        data: folder of the archives.

    Raises:
        InputError: if a part is unknown, or the share is out of range.
        DataError: if the folder is missing.
    """
    if unknown := [name for name in chosen if name not in known]:
        raise InputError(f"no {kind} {unknown[0]!r}; there are {', '.join(known)}")
    if not 0 < share <= 1:
        raise InputError(f"share={share:g}; expected more than 0 and at most 1")
    if not data.is_dir():
        raise DataError(f"--data {data}: expected the folder of .npz archives that gradmeter reproduce takes")


def require_files(part: str, weights: Sequence[str | None], networks: Path | None, files: Sequence[Path]) -> None:
    """Check that the files of a part are there.

    Args:
        part: name of the part.
        weights: names of the weights of its networks; None for a network that the experiment trains.
        networks: folder of the weights; None if it is not given.
        files: all files that the part needs.

    Raises:
        DataError: if the folder is not given, or a file is missing.
    """
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise DataError(f"{part} needs {missing[0].name}, which {missing[0].parent} does not hold")
    for name in weights:
        if name is not None and networks is None:
            raise DataError(f"{part} needs the folder with {name}; give it as --networks")
