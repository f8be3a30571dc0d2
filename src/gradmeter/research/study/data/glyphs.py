"""Letters in the DejaVu faces that matplotlib ships, sized and centred like MNIST digits."""

from __future__ import annotations

import io
import string
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gradmeter.errors import DataError
from gradmeter.research.study.data.concept import SIDE, Concept
from gradmeter.research.study.data.extras import package_folder

if TYPE_CHECKING:
    from PIL import Image

SANS_FACES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique")
SERIF_AND_MONO_FACES = (
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "DejaVuSerif-BoldItalic",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSansMono-BoldOblique",
)
LETTERS = string.ascii_uppercase + string.ascii_lowercase

# Glyphs are drawn at twice the size and averaged down, which gives soft edges like MNIST's.
_OVERSAMPLING = 2
_FONT_SIZE = 56
# MNIST fits a digit's longer side into 20 pixels.
_LONGER_SIDE = (17.5, 20.5)
_SHIFT = 1.5
_SLANT = 0.25


def letters(name: str, faces: Sequence[str], count: int, seed: int) -> Concept:
    """Render `count` letters A-Z a-z, with all letters and faces equally often and random size, position and slant.

    Args:
        name: role of the concept.
        faces: file names of DejaVu faces, without suffix.
        count: number of images.
        seed: seed of size, position and slant.

    Returns:
        A concept with labels 0..51 for A-Z a-z.

    Raises:
        DataError: Pillow, matplotlib or a face is missing.
    """
    package_folder("PIL", "demo")
    glyphs = [glyph for face in faces for glyph in _glyphs(face)]
    generator = np.random.default_rng(seed)
    longer_side = generator.uniform(*_LONGER_SIDE, count)
    slant = generator.uniform(-_SLANT, _SLANT, count)
    shift = generator.uniform(-_SHIFT, _SHIFT, (count, 2))
    which = np.arange(count) % len(glyphs)
    images = np.stack([_place(glyphs[g], *jitter) for g, *jitter in zip(which, longer_side, slant, shift, strict=True)])
    return Concept(name, images, which.astype(np.int64) % len(LETTERS))


def _glyphs(face: str) -> list[Image.Image]:
    """Render each letter in white on black, cropped to its ink."""
    from PIL import Image, ImageDraw, ImageFont

    path = package_folder("matplotlib", "demo") / "mpl-data" / "fonts" / "ttf" / f"{face}.ttf"
    try:
        # For a missing path, Pillow would silently use a system font of that name, so the file is read here.
        font = ImageFont.truetype(io.BytesIO(path.read_bytes()), _FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise DataError(
            f'{path} cannot be read ({error}); run: pip install --force-reinstall "gradmeter[demo]"'
        ) from error
    glyphs = []
    for letter in LETTERS:
        page = Image.new("L", (2 * _FONT_SIZE, 2 * _FONT_SIZE))
        ImageDraw.Draw(page).text((_FONT_SIZE // 2, _FONT_SIZE // 4), letter, fill=255, font=font)
        glyphs.append(page.crop(page.getbbox()))
    return glyphs


def _place(
    glyph: Image.Image, longer_side: float, slant: float, shift: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """Scale and slant the glyph, and place it on a 28x28 canvas at `shift` from the centre."""
    from PIL import Image

    canvas = _OVERSAMPLING * SIDE
    scale = max(glyph.size) / (_OVERSAMPLING * longer_side)
    across, down = (canvas / 2 + _OVERSAMPLING * shift).tolist()
    # Inverse map from canvas (u, v) to glyph: x = scale (u - across + slant (v - down)) + width / 2; y has no slant.
    affine = (
        *(scale, scale * slant, glyph.width / 2 - scale * (across + slant * down)),
        *(0.0, scale, glyph.height / 2 - scale * down),
    )
    placed = glyph.transform((canvas, canvas), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    return np.asarray(placed.reduce(_OVERSAMPLING))
