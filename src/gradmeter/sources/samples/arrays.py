"""An `.npz` archive of images as a source; pickled objects are refused.

The images stay in an uncompressed local archive, as `numpy.savez` writes it; those of others are kept in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from gradmeter.errors import DataError
from gradmeter.sources.samples.archive_columns import read_column
from gradmeter.sources.samples.archive_labels import LABELS, NAMES, ArchiveLabels
from gradmeter.sources.samples.decoding import too_long
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.npz import array_names
from gradmeter.sources.samples.npz_rows import ArrayRows, open_rows
from gradmeter.sources.samples.sample import Encoded, Source

IMAGES = "images"
"""Name of the array of images."""


class ImageArchive(Source):
    """The arrays `images` and, if present, `labels` and `class_names` of an archive.

    `images` is [N, height, width] or [N, height, width, 1 or 3] in uint8 (0..255), bool or float (0..1). `labels` is
    [N], integers from 0 that index `class_names`, or -1 for an image without a label. `class_names` holds strings,
    bytes or integers.

    Args:
        location: the archive.
        mode: "RGB" or "L", the mode of the decoded images.

    Raises:
        DataError: if the archive is damaged or its arrays have other types or shapes.
    """

    def __init__(self, location: Location, mode: str = "RGB") -> None:
        path = self.name = location.name
        self._location = location
        with location.open() as file:
            arrays = array_names(path, file)
        if IMAGES not in arrays:
            raise DataError(f"{path} has no array 'images' or 'inputs', only {', '.join(arrays) or 'nothing'}")
        self._images = open_rows(location, [IMAGES])[IMAGES]
        _check_images(path, self._images)
        self._count = self._images.shape[0]
        shape = self._images.shape[1:]
        self.decoder = _Pixels(self._images.dtype.str, shape[:2] if shape[2:] == (1,) else shape, mode)
        self._labels = ArchiveLabels.read(location, self._count)
        self.classes, self.labelled = self._labels.classes, self._labels.numbers is not None
        self.invalid_labels = self._labels.invalid
        if not self.labelled and shape[1:] in ((1,), (3,)):
            raise DataError(
                f"{path}: images have shape {self._images.shape}; expected [N, height, width] or [N, height, width, "
                "1 or 3]: save images[None] if this is one image, and images[..., None] if these are "
                f"{self._count} grey ones"
            )
        self.columns = tuple(name for name in arrays if name not in (IMAGES, LABELS, NAMES))

    def __len__(self) -> int:
        """The number of images."""
        return self._count

    def id(self, index: int) -> str:
        """The index of the image."""
        return str(index)

    def fetch(self, index: int) -> Encoded:
        """The pixels of one image, not decoded."""
        return Encoded(self.id(index), self._images.row(index), self._labels[index])

    def column(self, name: str) -> Iterator[str | None]:
        """The values of another array [N] as texts; None for an empty one or NaN."""
        return read_column(self._location, name, self._count)

    def fingerprint(self) -> str:
        """A hash of pixels and labels."""
        digest = hashlib.sha256(f"{self._images.dtype} {self._images.shape}".encode())
        for chunk in self._images.chunks():
            digest.update(chunk)
        if self._labels.numbers is not None:
            digest.update(self._labels.numbers.data)
        return digest.hexdigest()


@dataclass(frozen=True)
class _Pixels:
    """Decode the bytes of one row of the array `images`."""

    dtype: str
    shape: tuple[int, ...]
    mode: str

    def __call__(self, content: bytes) -> Image.Image:
        pixels = np.frombuffer(content, self.dtype).reshape(self.shape)
        if pixels.dtype.kind == "f":
            pixels = np.rint(pixels.astype(np.float64) * 255).astype(np.uint8)
        elif pixels.dtype == np.bool_:
            pixels = pixels.astype(np.uint8) * np.uint8(255)
        return Image.fromarray(pixels).convert(self.mode)


def _check_images(path: str, images: ArrayRows) -> None:
    if len(images.shape) not in (3, 4) or images.shape[3:] not in ((), (1,), (3,)) or 0 in images.shape:
        channels_first = len(images.shape) == 4 and images.shape[1] in (1, 3)
        raise DataError(
            f"{path}: images have shape {images.shape}; expected [N, height, width] or [N, height, width, 1 or 3]"
            + ", none of them 0" * (0 in images.shape)
            + ": save images.transpose(0, 2, 3, 1) if the channels are first" * channels_first
        )
    if reason := too_long(images.shape[2], images.shape[1]):
        raise DataError(f"{path}: images of {reason}")
    if images.dtype.kind != "f" and images.dtype not in (np.uint8, np.bool_):
        raise DataError(
            f"{path}: images have dtype {images.dtype}; expected uint8 (0..255), float (0..1) or bool"
            + ": save images.astype('uint8') if they are 0..255" * (images.dtype.kind in "iu")
            + ", (images // 257).astype('uint8') if they are 0..65535" * (images.dtype == np.uint16)
        )
    chunks = (np.frombuffer(chunk, images.dtype) for chunk in images.chunks())
    low, high = np.array([(chunk.min(), chunk.max()) for chunk in chunks]).T
    low, high = low.min(), high.max()
    if images.dtype.kind == "f" and not (low >= 0 and high <= 1):  # NaN if any pixel is NaN
        problem = "contain NaN" if np.isnan(low) else f"range from {low:g} to {high:g}"
        raise DataError(
            f"{path}: float images {problem}; expected values in [0, 1]"
            + ": save images / 255 if they are 0..255" * bool(low >= 0 and high <= 255)
        )
    if images.dtype == np.uint8 and high == 1:
        raise DataError(
            f"{path}: uint8 images contain only 0 and 1; expected 0..255: multiply by 255 or convert to bool"
        )
