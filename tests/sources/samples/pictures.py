"""Small images for tests, and images with long or misleading headers."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def gradient(width: int = 12, height: int = 8) -> np.ndarray:
    """uint8 [height, width, 3] with another gradient in each channel."""
    y, x = np.mgrid[:height, :width]
    levels = [x * 255 / (width - 1), y * 255 / (height - 1), (x + y) * 255 / (width + height - 2)]
    return np.rint(np.stack(levels, axis=-1)).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> io.BytesIO:
    """An encoded image as an open binary file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    stream.seek(0)
    return stream


def save(path: Path, shade: int = 128, side: int = 8) -> None:
    """Save a square image of one shade of grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (shade, shade, shade)).save(path)


def in_one_tile(side: int, tile: int, data: bytes, bits: int = 8) -> bytes:
    """A grey TIFF of `side` x `side` pixels of `bits` bits in one tile of `tile` x `tile`, compressed in `data`."""
    entries = {256: side, 257: side, 258: bits, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile, 324: 0, 325: len(data)}
    entries[324] = 14 + 12 * len(entries)  # the offset of the data
    head = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + head + bytes(4) + data


def _strips(size: int) -> bytes:
    """A TIFF of 8 x 8 pixels with a table of very many strips."""
    count = size // 4
    entries = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 64}
    head = b"".join(struct.pack("<HHII", tag, 4, count if tag == 273 else 1, value) for tag, value in entries.items())
    offsets = struct.pack("<I", 8) * count
    return b"II*\0" + struct.pack("<I", 8 + len(offsets)) + offsets + struct.pack("<H", len(entries)) + head + bytes(4)


LONG_HEADERS: dict[str, Callable[[int], bytes]] = {
    "comments of PGM": lambda size: b"P5\n" + b"#\n" * (size // 2) + b"8 8\n255\n" + bytes(64),
    "fill bytes of JPEG": lambda size: b"\xff\xd8" + b"\xff" * size,
    "comments of GIF": lambda size: b"GIF89a\x08\0\x08\0\0\0\0" + b"\x21\xfe\0" * (size // 3),
    "strips of TIFF": _strips,
}
"""Functions that return a file of about a given size in bytes, nearly all of it header."""
