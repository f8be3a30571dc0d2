"""From an encoded image, of whatever kind people have, to 8-bit pixels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from gradmeter.errors import one_line
from gradmeter.sources.samples.sample import Unreadable

# Formats that are decoded by a library in this process; others (EPS, for one) start programs.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".jp2", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""File names that end like this are taken for images, in small or capital letters."""

LARGEST = 89_478_485
"""Pixels of the largest image that is decoded: a quarter of a gigabyte in RGB."""

LONGEST = 100
"""Times that the longer side of an image may be as long as the shorter one.

Preprocessing scales the shorter side to the network's, and the longer one with it: of 1 x 20000 pixels, a file of 157
bytes, that makes five gigabytes.
"""


class TooLarge(Unreadable):
    """An image has more pixels than are decoded."""


_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")


@dataclass(frozen=True)
class ImageDecoder:
    """`decode` of bytes, in one mode."""

    mode: str

    def __call__(self, content: bytes) -> Image.Image:
        """Decode an image; raises `Unreadable`."""
        return decode(io.BytesIO(content), self.mode)


def decode_text(content: bytes) -> str:
    """Decode UTF-8; raises `Unreadable`."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"no text in UTF-8: {one_line(error)}") from error


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def decode(file: Path | IO[bytes], mode: str = "RGB") -> Image.Image:
    """Decode an image: upright as its EXIF note says, the first frame of several, 16 bits scaled to 8.

    Args:
        file: a path or an open binary file.
        mode: "RGB" or "L" (grey) of the result; alpha is dropped, as torchvision's and timm's loaders do.

    Raises:
        Unreadable: if it is no image, damaged, larger than `LARGEST`, longer than `LONGEST`, or of numbers whose range
            is unknown.
    """
    with _opened(file) as image:
        width, height = image.size
        if _announced(image) > LARGEST:
            raise TooLarge(f"{_announced(image):,} pixels ({width} x {height}); at most {LARGEST:,} are decoded")
        if reason := too_long(width, height):
            raise Unreadable(reason)
        image.load()
        # Every copy of a large image counts.
        ImageOps.exif_transpose(image, in_place=True)
        upright = _eight_bits(image)
        return upright if upright.mode == mode else upright.convert(mode)


def pixels(content: bytes) -> int:
    """The number of pixels that the header of an encoded image announces; no pixel is decoded.

    Raises:
        TooLarge: if there are so many that Pillow does not even open it.
        Unreadable: if it is no image of a format that is decoded.
    """
    with _opened(io.BytesIO(content)) as image:
        return _announced(image)


def _announced(image: Image.Image) -> int:
    """Pixels that decoding takes, as the header has it: a tile of a TIFF may be larger than the image it is cut to."""
    tags = getattr(image, "tag_v2", {})
    tile = int(tags.get(TiffImagePlugin.TILEWIDTH, 0)) * int(tags.get(TiffImagePlugin.TILELENGTH, 0))
    return max(image.width * image.height, tile)


@contextmanager
def _opened(file: Path | IO[bytes]) -> Iterator[Image.Image]:
    """An image of which only the header has been read, and whatever goes wrong with it as `Unreadable`."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; whoever opens one looks at its size.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=_formats()) as image:
                yield image
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise TooLarge(_reason(error)) from error
    except MemoryError as error:
        raise Unreadable("not enough memory to decode it") from error
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise Unreadable(_reason(error)) from error


def too_long(width: int, height: int) -> str | None:
    """Why no network's preprocessing is given such an image; None where nothing speaks against it."""
    if max(width, height) <= LONGEST * min(width, height):
        return None
    return f"{width} x {height} pixels; expected a longer side of at most {LONGEST} times the shorter one"


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale what Pillow would clip."""
    if image.mode in _SIXTEEN_BIT:
        levels: Any = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise Unreadable(f"whole numbers from {levels.min():.0f} to {levels.max():.0f}; expected 8 or 16 bits")
        # Rounded to the nearest; 257 is odd, so there are no ties.
        return Image.fromarray(((levels.astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        levels = np.asarray(image)
        if not (levels.min() >= 0 and levels.max() <= 1):
            raise Unreadable(f"real numbers from {levels.min():g} to {levels.max():g}; expected 0 to 1")
        return Image.fromarray(np.rint(levels * 255).astype(np.uint8))
    return image


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no image in a format that is known"
    return one_line(error)
