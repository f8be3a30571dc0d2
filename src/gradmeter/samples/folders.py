"""A folder of images as a source: one folder per class, or images side by side without labels."""

from __future__ import annotations

import hashlib
import os

import pyarrow as pa

from gradmeter.errors import DataError
from gradmeter.samples.decoding import SUFFIXES, ImageDecoder
from gradmeter.samples.location import AT_ONCE, Location
from gradmeter.samples.sample import Encoded, Source


class ImageFolder(Source):
    """Images of a folder, in the order of their paths.

    Where the images lie in folders, those of the first level are the classes, in the order of their names, as in
    torchvision's ImageFolder. Files and folders whose names begin with a dot are passed over.

    Args:
        location: of the folder.
        mode: "RGB" or "L" of the decoded images.

    Raises:
        DataError: if there is no image, or some lie in folders and others beside them.
    """

    def __init__(self, location: Location, mode: str = "RGB") -> None:
        folder = self.name = location.name
        self.decoder = ImageDecoder(mode)
        self._location = location
        self.at_once = 1 if location.is_local else AT_ONCE
        names = location.folders()
        loose = [name for name in location.files() if _is_image(name)]
        filed = [
            (path, number)
            for number, name in enumerate(names)
            for path in location.files_below(name)
            if _is_image(path)
        ]
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

    def fetch(self, index: int) -> Encoded:
        """Read one file."""
        path = self.id(index)
        label = None if self._labels is None else self._labels[index].as_py()
        return Encoded(path, self._location.read(path), label)

    def fingerprint(self) -> str:
        """A hash of the paths."""
        digest = hashlib.sha256()
        for path in self._paths:
            digest.update(os.fsencode(path.as_py()) + b"\0")
        return digest.hexdigest()

    def containers(self) -> dict[str, str]:
        """None: files have names."""
        return {}


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)
