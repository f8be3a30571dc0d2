"""Decode images to 8-bit pixels, and texts."""

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
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from gradmeter.errors import one_line
from gradmeter.sources.samples.sample import Unreadable

# Formats that Pillow decodes in this process; for others, such as EPS, it starts an external program.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".jp2", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Suffixes of image files, in lower or upper case."""

LARGEST = 89_478_485
"""The most pixels that an image may have: a quarter of a gigabyte in RGB."""

LONGEST = 100
"""The largest ratio of the longer to the shorter side of an image.

Preprocessing scales the shorter side to the input size of the network. An image of 1 x 20000 pixels, a file of 157
bytes, would grow to five gigabytes.
"""

# Modes of Pillow that may hold 16-bit pixels. 12-bit pixels of a TIFF are "I;16" too.
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")
# In a TIFF, 0 is white with this value of the tag. Pillow inverts 8-bit pixels, but not 16-bit ones.
_WHITE_IS_ZERO = 0


class TooLarge(Unreadable):
    """An image has more pixels than `LARGEST`."""


@dataclass(frozen=True)
class ImageDecoder:
    """Decodes the content of an image file.

    Attributes:
        mode: "RGB" or "L", the mode of the result.
    """

    mode: str

    def __call__(self, content: bytes) -> Image.Image:
        """Decode an image; raises `Unreadable`."""
        return decode(io.BytesIO(content), self.mode)


def decode_text(content: bytes) -> str:
    """Decode UTF-8, without the byte order mark that editors of Windows write first; raises `Unreadable`."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 text: {one_line(error)}") from error


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def decode(file: Path | IO[bytes], mode: str = "RGB") -> Image.Image:
    """Decode the first frame of an image, rotate it according to its EXIF data and scale 12 or 16 bits to 8.

    Args:
        file: a path or an open binary file.
        mode: "RGB" or "L" (grey), the mode of the result. Alpha is dropped, as by torchvision's and timm's loaders.

    Raises:
        Unreadable: if it is not an image, damaged, larger than `LARGEST`, longer than `LONGEST`, or its pixel values
            have an unknown range.
    """
    with _upright(file) as image:
        eight = _to_eight_bits(image)
        return eight if eight.mode == mode else eight.convert(mode)


def decode_mask(file: Path | IO[bytes]) -> tuple[NDArray[np.integer], ...]:
    """Decode a mask: the number of each pixel, [H, W].

    Returns:
        What the numbers may be. A palette has two readings, its indices and the grey values that they show; so has one
        bit, which is 0 and 1 or shows 0 and 255. Colours have no grey values; 16-bit numbers are those of 8 bits if
        they are multiples of 257, as after a conversion. Alpha is dropped.

    Raises:
        Unreadable: as `decode`; also for a mask in colours that has no palette.
    """
    with _upright(file) as image:
        if image.mode in _SIXTEEN_BIT:
            numbers = np.asarray(image).astype(np.int64)
            return ((numbers if (numbers % 257).any() else numbers // 257),)
        colours = np.asarray(image.convert("RGB"))
        is_grey = bool((colours == colours[..., :1]).all())
        readings = [colours[..., 0]] if is_grey else []
        if image.mode in ("P", "1"):
            readings.insert(0, np.asarray(image).astype(np.uint8))
    if not readings:
        raise Unreadable("it is in colours; expected grey values or a palette")
    return tuple(readings)


@contextmanager
def _upright(file: Path | IO[bytes]) -> Iterator[Image.Image]:
    """Load an image of an allowed size, rotated according to its EXIF data; raise errors in the block as `_open`."""
    with _open(file) as image:
        width, height = image.size
        if _decoded_pixels(image) > LARGEST:
            raise TooLarge(f"{_decoded_pixels(image):,} pixels ({width} x {height}); expected at most {LARGEST:,}")
        if reason := too_long(width, height):
            raise Unreadable(reason)
        image.load()
        # In place, to save the memory of a copy.
        ImageOps.exif_transpose(image, in_place=True)
        yield image


def pixels(content: bytes) -> int:
    """The number of pixels of an encoded image according to its header; no pixel is decoded.

    Raises:
        TooLarge: if Pillow refuses to open an image of this size.
        Unreadable: if it is not an image in a supported format.
    """
    with _open(io.BytesIO(content)) as image:
        return _decoded_pixels(image)


def _decoded_pixels(image: Image.Image) -> int:
    """Pixels to decode according to the header: a TIFF's tile may be larger than the image that is cropped from it."""
    tags = _tags(image)
    tile = int(tags.get(TiffImagePlugin.TILEWIDTH, 0)) * int(tags.get(TiffImagePlugin.TILELENGTH, 0))
    return max(image.width * image.height, tile)


@contextmanager
def _open(file: Path | IO[bytes]) -> Iterator[Image.Image]:
    """Open an image and read only its header; raise every error in the block as `Unreadable`."""
    try:
        with warnings.catch_warnings():
            # Pillow warns about large images; callers check the size themselves.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=_formats()) as image:
                yield image
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise TooLarge(_reason(error)) from error
    except MemoryError as error:
        raise Unreadable("not enough memory to decode it") from error
    except Exception as error:  # on damaged files, decoders raise errors of any type
        raise Unreadable(_reason(error)) from error


def too_long(width: int, height: int) -> str | None:
    """The reason to refuse an image that is longer than `LONGEST`; None if it is not."""
    if max(width, height) <= LONGEST * min(width, height):
        return None
    return f"{width} x {height} pixels; expected a longer side of at most {LONGEST} times the shorter side"


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 12-bit and 16-bit integers and floats to 8 bits, which Pillow's `convert` would clip."""
    levels: Any
    if image.mode in _SIXTEEN_BIT:
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise Unreadable(f"pixels from {levels.min():.0f} to {levels.max():.0f}; expected 8-bit or 16-bit integers")
        if not (_is_wide(image) and levels.max() <= 255):
            white = 4095 if _tags(image).get(TiffImagePlugin.BITSPERSAMPLE) == (12,) else 65535
            # Rounds to nearest. There are no ties: 65535 / 255 and 4095 * 17 / 255 are odd.
            levels = (levels.astype(np.uint32) * 510 + white) // (2 * white)
    elif image.mode == "F":
        levels = np.asarray(image)
        if not (levels.min() >= 0 and levels.max() <= 1):
            raise Unreadable(f"float pixels from {levels.min():g} to {levels.max():g}; expected 0 to 1")
        levels = np.rint(levels * 255)
    else:
        return image
    eight = Image.fromarray(levels.astype(np.uint8))
    white_is_zero = _tags(image).get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO
    return ImageOps.invert(eight) if white_is_zero else eight


def _is_wide(image: Image.Image) -> bool:
    """Whether pixels have a type that does not tell their range: 32-bit or signed integers of a TIFF.

    Other integers of Pillow's mode "I" are 16-bit pixels of a PGM or PNG.
    """
    return image.mode == "I" and bool(_tags(image))


def _tags(image: Image.Image) -> Any:
    """The tags of a TIFF; empty for other formats."""
    return getattr(image, "tag_v2", {})


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a supported format"
    return one_line(error)
