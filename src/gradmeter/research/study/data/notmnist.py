"""notMNIST_small, read from the published archive (Bulatov 2011)."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from gradmeter.errors import DataError
from gradmeter.research.study.data.concept import SIDE, Concept

URL = "http://yaroslavvb.com/upload/notMNIST/notMNIST_small.tar.gz"
FILE = "notMNIST_small.tar.gz"
MD5 = "c9890a473a9769fda4bdf314aaf500dd"
CLASSES = "ABCDEFGHIJ"


def read_notmnist(path: Path) -> tuple[Concept, int]:
    """Read the letters A-J, in the order of their file names.

    Two of the 18,726 files in the published archive are damaged. Damaged files are skipped and counted.

    Args:
        path: path of `notMNIST_small.tar.gz`.

    Returns:
        A concept with labels 0..9 for A-J, and the number of skipped files.

    Raises:
        DataError: the archive is missing or differs from the published one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); fetch it with --download from {URL}") from error
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != MD5:
        raise DataError(f"{path} is damaged: its MD5 is {md5}, expected {MD5}; remove it and fetch it with --download")
    images, labels, skipped = [], [], 0
    for name, png in sorted(_files(content).items()):
        image = _decode(png)
        if image is None:
            skipped += 1
        else:
            images.append(image)
            labels.append(CLASSES.index(PurePosixPath(name).parent.name))
    return Concept("notmnist", np.stack(images), np.array(labels, np.int64)), skipped


def _files(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        return {
            member.name: file.read()
            for member in archive
            if member.name.endswith(".png") and (file := archive.extractfile(member))
        }


def _decode(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None:
    """Return the image, or None if the file is not a 28x28 PNG."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, zlib.error):
        return None
    return pixels if pixels.shape == (SIDE, SIDE) else None
