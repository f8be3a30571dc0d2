"""A folder of images as a source: one subfolder per class, or unlabelled images directly in the folder."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from gradmeter.errors import DataError
from gradmeter.names import decode_name, encode_name
from gradmeter.sources.samples.decoding import SUFFIXES, ImageDecoder
from gradmeter.sources.samples.file_versions import FileVersions
from gradmeter.sources.samples.left_out import Kind, LeftOut, is_hidden
from gradmeter.sources.samples.location import AT_ONCE, Location
from gradmeter.sources.samples.sample import Encoded, Source
from gradmeter.sources.samples.tables import is_table
from gradmeter.stages import stage


class ImageFolder(Source):
    """The images in a folder, sorted by path.

    If the folder has subfolders of images, each is a class and the classes are sorted by name, as in torchvision's
    ImageFolder. Hidden files and folders, other file types and unreadable files are left out.

    Args:
        location: the folder.
        mode: "RGB" or "L", the mode of the decoded images.

    Raises:
        DataError: if there are no images, or there are images both in the folder itself and in its subfolders.
    """

    def __init__(self, location: Location, mode: str = "RGB") -> None:
        folder = self.name = location.name
        self.decoder = ImageDecoder(mode)
        self._location = location
        self.at_once = 1 if location.is_local else AT_ONCE
        names, flat, left_out = _scan(location)
        labelled = [
            (path, number)
            for number, name in enumerate(names)
            for path in location.files_below(name, left_out)
            if _is_image(path, left_out)
        ]
        self.note = str(left_out)
        if flat and labelled:
            raise DataError(
                f"{folder} has images ({flat[0]}, ...) beside folders of images ({labelled[0][0]}, ...); expected "
                "either images only or one folder for each class"
            )
        if not flat and not labelled:
            below = [path for name in names for path in location.files_below(name, LeftOut())]
            if table := next((path for path in below if is_table(path.rpartition("/")[2])), None):
                raise DataError(f"{folder} has no images, but {encode_name(table)}; give this file or its folder")
            files = [name for name, kind in location.entries() if kind is Kind.FILE]
            if arrow := next((path for path in (*files, *below) if path.endswith(".arrow")), None):
                raise DataError(
                    f"{folder} has no images, but {encode_name(arrow)}, as save_to_disk of Hugging Face's datasets "
                    "library writes; expected Parquet, as its to_parquet writes"
                )
            raise DataError(f"{folder} has no images; expected files that end in {', '.join(SUFFIXES)}")
        self.labelled = bool(labelled)
        self.classes = tuple(map(encode_name, names)) if labelled else None
        # An Arrow array of a million paths takes a few dozen megabytes, a list several times as much.
        paths = [path for path, _ in labelled] if labelled else flat
        self._paths = pa.array(map(encode_name, paths), pa.large_string(), size=len(paths))
        self._labels = pa.array([number for _, number in labelled], pa.int32()) if labelled else None

    def __len__(self) -> int:
        """The number of files."""
        return len(self._paths)

    def id(self, index: int) -> str:
        """The path relative to the folder, encoded by `encode_name`."""
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
        """Empty: the id of a sample is its file's path."""
        return {}

    def file_versions(self) -> FileVersions:
        """The versions of the files."""
        ids = (path.as_py() for path in self._paths)
        paths = (decode_name(path.as_py()) for path in self._paths)
        with stage(f"checking the files of {self.name}"):  # minutes on a network drive
            return FileVersions.of(zip(ids, self._location.versions(paths), strict=True))


def _scan(location: Location) -> tuple[list[str], list[str], LeftOut]:
    """The names of subfolders and of images in a folder, and the entries that are left out."""
    folders, images, left_out = [], [], LeftOut()
    for name, kind in location.entries():
        if is_hidden(name):
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
