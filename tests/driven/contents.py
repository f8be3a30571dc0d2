"""Contents of files with names of images."""

import io
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

from trust.trained import digits

DIGITS = 24


@cache
def contents() -> dict[str, bytes]:
    """Contents by description: digits, digits in other formats, and files that are not images."""
    images = np.rint(digits()[0][300 : 300 + DIGITS, 0].numpy() * 255).astype(np.uint8)
    pngs = {f"digit {number}": _saved(Image.fromarray(image)) for number, image in enumerate(images)}
    first = Image.fromarray(images[0])
    animation = io.BytesIO()
    first.save(animation, "GIF", save_all=True, append_images=[Image.fromarray(images[1])])
    whole = pngs["digit 0"]
    return {
        **pngs,
        "animation": animation.getvalue(),
        "colours": _saved(first.convert("RGB")),
        "transparent": _saved(first.convert("RGBA")),
        "palette": _saved(first.convert("P")),
        "16 bits": _saved(Image.fromarray(images[0].astype(np.uint16) * 257)),
        "jpeg": _saved(first, "JPEG"),
        "one pixel": _saved(first.resize((1, 1))),
        "large": _saved(first.resize((300, 200))),
        "too long": _saved(first.resize((1, 150))),
        "empty": b"",
        "text": b"not an image\n",
        "cut": whole[: len(whole) // 2],
        "header only": whole[:33],
        "bomb": _header(60_000, 60_000) + whole[33:],
        "no pixels": _header(0, 0) + whole[33:],
        "zeros": bytes(100),
    }


def _saved(image: Image.Image, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def _header(width: int, height: int) -> bytes:
    """The header of a PNG that states this size."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
