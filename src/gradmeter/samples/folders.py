"""A folder of images as a source: one folder per class, or images side by side without labels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from gradmeter.errors import DataError
from gradmeter.samples.decoding import SUFFIXES, decode
from gradmeter.samples.sample import Sample, Source


class ImageFolder(Source):
    """Images of a folder, in the order of their paths.

    Where the images lie in folders, those of the first level are the classes, in the order of their names, as in
    torchvision's ImageFolder. Files and folders whose names begin with a dot are passed over.

    Args:
        folder: the folder.
        mode: "RGB" or "L" of the decoded images.

    Raises:
        DataError: if there is no image, or some lie in folders and others beside them.
    """

    def __init__(self, folder: Path, mode: str = "RGB") -> None:
        self.name = str(folder)
        self._folder, self._mode = folder, mode
        names = sorted(entry.name for entry in _visible(folder) if entry.is_dir())
        loose = sorted(entry.name for entry in _visible(folder) if entry.is_file() and _is_image(entry.name))
        filed = [(path, number) for number, name in enumerate(names) for path in _below(folder, name)]
        if loose and filed:
            raise DataError(
                f"{folder} holds images ({loose[0]}, ...) beside folders of images ({filed[0][0]}, ...); expected "
                "either images only or one folder for each class"
            )
        if not loose and not filed:
            raise DataError(f"{folder} holds no images; expected files that end in {', '.join(SUFFIXES)}")
        self.labelled = bool(filed)
        self.classes = tuple(names) if filed else None
        # Arrow holds a million names in a few dozen megabytes; a list takes several times as much.
        self._paths = pa.array([path for path, _ in filed] if filed else loose, pa.large_string())
        self._labels = pa.array([number for _, number in filed], pa.int32()) if filed else None

    def __len__(self) -> int:
        """The number of files."""
        return len(self._paths)

    def id(self, index: int) -> str:
        """The path below the folder."""
        path: str = self._paths[index].as_py()
        return path

    def read(self, index: int) -> Sample:
        """Decode one file."""
        path = self.id(index)
        label = None if self._labels is None else self._labels[index].as_py()
        return Sample(path, decode(self._folder / path, self._mode), label)

    def fingerprint(self) -> str:
        """A hash of the paths."""
        digest = hashlib.sha256()
        for path in self._paths:
            digest.update(os.fsencode(path.as_py()) + b"\0")
        return digest.hexdigest()


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror}); expected a folder of images") from error


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _below(folder: Path, name: str) -> Iterator[str]:
    """Paths of the images in a class folder; links to folders further below are not followed, they may be circles."""
    found = []
    for where, _, files in os.walk(folder / name):
        relative = os.path.relpath(where, folder)
        if not any(part.startswith(".") for part in Path(relative).parts):
            found += [os.path.join(relative, file) for file in files if _is_image(file) and not file.startswith(".")]
    return iter(sorted(found))
