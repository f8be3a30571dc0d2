"""Noise images: unknown concepts that need no files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradmeter.research.study.data.concept import SIDE, Concept

RAW, CLIPPED, ROUNDED = "raw", "clipped", "8-bit"
FORMS = (RAW, CLIPPED, ROUNDED)
"""Forms of noise: as drawn, clipped to [0, 1], or clipped and rounded to 256 grey values."""

_DISTRIBUTIONS = {"uniform": "U[0, 1]", "normal": "N(0, 1)"}
_FORMS = {RAW: "as drawn", CLIPPED: "clipped to [0, 1]", ROUNDED: "clipped to [0, 1] and rounded to 256 grey values"}


def sources(form: str) -> dict[str, str]:
    """Return a one-line description of the images of each noise role."""
    return {
        role: f"every pixel from {distribution}, {_FORMS[form]}, drawn afresh for each run"
        for role, distribution in _DISTRIBUTIONS.items()
    }


def uniform(count: int, generator: np.random.Generator, form: str = RAW) -> Concept:
    """Draw `count` float32 images from U[0, 1]."""
    return Concept("uniform", _convert(generator.random((count, SIDE, SIDE), dtype=np.float32), form))


def normal(count: int, generator: np.random.Generator, form: str = RAW) -> Concept:
    """Draw `count` float32 images from N(0, 1)."""
    return Concept("normal", _convert(generator.standard_normal((count, SIDE, SIDE), dtype=np.float32), form))


def _convert(images: NDArray[np.float32], form: str) -> NDArray[np.float32]:
    if form == RAW:
        return images
    clipped = images.clip(0, 1)
    return clipped if form == CLIPPED else np.divide(np.round(clipped * 255), 255, dtype=np.float32)
