"""A folder of images as a source: one folder per class, or images side by side without labels."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from gradmeter.errors import DataError
from gradmeter.names import decode_name, encode_name
from gradmeter.sources.samples.decoding import SUFFIXES, ImageDecoder
from gradmeter.sources.samples.left_out import Kind, LeftOut
from gradmeter.sources.samples.location import AT_ONCE, Location
from gradmeter.sources.samples.sample import Encoded, Source


class ImageFolder(Source):
    """Images of a folder, in the order of their paths.

    Where the images lie in folders, those of the first level are the classes, in the order of their names, as in
    torchvision's ImageFolder. Files and folders whose names begin with a dot, and
    what is no file or cannot be read, are left out.

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
        names, loose, left_out = _sorted_out(location)
        filed = [
            (path, number)
            for number, name in enumerate(names)
            for path in location.files_below(name, left_out)
            if _is_image(path, left_out)
        ]
        self.left_out = str(left_out)
        if loose and filed:
            raise DataError(
                f"{folder} holds images ({loose[0]}, ...) beside folders of images ({filed[0][0]}, ...); expected "
                "either images only or one folder for each class"
            )
        if not loose and not filed:
            raise DataError(f"{folder} holds no images; expected files that end in {', '.join(SUFFIXES)}")
        self.labelled = bool(filed)
        self.classes = tuple(map(encode_name, names)) if filed else None
        # Arrow holds a million names in a few dozen megabytes; a list takes several times as much.
        paths = [path for path, _ in filed] if filed else loose
        self._paths = pa.array(map(encode_name, paths), pa.large_string(), size=len(paths))
        self._labels = pa.array([number for _, number in filed], pa.int32()) if filed else None

    def __len__(self) -> int:
        """The number of files."""
        return len(self._paths)

    def id(self, index: int) -> str:
        """The path below the folder, encoded by `encode_name`."""
        path: str = self._paths[index].as_py()
        return path

    def fetch(self, index: int) -> Encoded:
        """Read one file."""
        path = self.id(index)
        label = None if self._labels is None else self._labels[index].as_py()
        return Encoded(path, self._location.read(decode_name(path)), label)

    def fingerprint(self) -> str:
        """A hash of the paths."""
        digest = hashlib.sha256()
        for path in self._paths:
            digest.update(f"{path.as_py()}\0".encode())
        return digest.hexdigest()

    def containers(self) -> dict[str, str]:
        """None: files have names."""
        return {}


def _sorted_out(location: Location) -> tuple[list[str], list[str], LeftOut]:
    """Names of the folders and of the images in a folder, and what else there is."""
    folders, images, left_out = [], [], LeftOut()
    for name, kind in location.entries():
        if name.startswith("."):
            left_out.add_hidden(kind, name)
        elif kind.is_folder:
            folders.append(name)
        elif kind is not Kind.FILE:
            left_out.add(kind, name)
        elif _is_image(name, left_out):
            images.append(name)
    return folders, images, left_out


def _is_image(name: str, left_out: LeftOut) -> bool:
    if name.lower().endswith(SUFFIXES):
        return True
    left_out.add(Kind.NO_IMAGE, name)
    return False
