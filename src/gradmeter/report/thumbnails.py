"""Small pictures inside an HTML page."""

from __future__ import annotations

import base64
import io

from PIL import Image

# JPEG is smaller for photographs; its errors are visible in tiny pictures, which are small as PNG.
_TINY = 28
_QUALITY = 85
_TYPES = {"iVBOR": "png", "/9j/": "jpeg"}


class Picture(str):
    """A picture as the base64 text of a PNG or JPEG file."""

    __slots__ = ()


def thumbnail(image: Image.Image, side: int) -> Picture:
    """Return a small picture of an image.

    Args:
        image: the image.
        side: the longer side of the picture in pixels; smaller images keep their size.
    """
    small = image.copy()
    small.thumbnail((side, side))
    texts = [_encoded(small, "PNG")]
    if max(small.size) > _TINY and small.mode in ("L", "RGB"):
        texts.append(_encoded(small, "JPEG", quality=_QUALITY))
    return Picture(min(texts, key=len))


def data_uri(picture: Picture) -> str:
    """Return the address of a picture."""
    kind = next(kind for start, kind in _TYPES.items() if picture.startswith(start))
    return f"data:image/{kind};base64,{picture}"


def _encoded(image: Image.Image, kind: str, **options: int) -> str:
    file = io.BytesIO()
    image.save(file, kind, optimize=True, **options)
    return base64.b64encode(file.getvalue()).decode()
