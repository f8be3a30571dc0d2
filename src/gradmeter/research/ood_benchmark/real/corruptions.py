"""Corruptions of photographs: five kinds at five strengths, like CIFAR-10-C (Hendrycks and Dietterich 2019).

A corruption maps a photograph [H, W, 3] in [0, 1], a strength and a source of random numbers to a photograph; the
result is clipped and rounded to 8 bits. The strengths are those of CIFAR-10-C; its blurs are represented by a Gaussian.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

Photograph = NDArray[np.float64]


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

    Attributes:
        name: its name.
        strengths: five strengths, the weakest first.
        apply: the function.
    """

    name: str
    strengths: tuple[float, ...]
    apply: Callable[[Photograph, float, np.random.Generator], Photograph]


def _brightness(image: Photograph, shift: float, random: np.random.Generator) -> Photograph:
    return image + shift


def _contrast(image: Photograph, factor: float, random: np.random.Generator) -> Photograph:
    mean = image.mean(axis=(0, 1))
    return np.asarray((image - mean) * factor + mean)


def _noise(image: Photograph, deviation: float, random: np.random.Generator) -> Photograph:
    return image + random.normal(scale=deviation, size=image.shape)


def _blur(image: Photograph, deviation: float, random: np.random.Generator) -> Photograph:
    blurred: Photograph = gaussian_filter(image, (deviation, deviation, 0))
    return blurred


def _jpeg(image: Photograph, quality: float, random: np.random.Generator) -> Photograph:
    file = io.BytesIO()
    Image.fromarray(to_bytes(image)).save(file, "jpeg", quality=int(quality))
    return np.asarray(Image.open(file), dtype=np.float64) / 255


CORRUPTIONS = (
    Corruption("brightness", (0.05, 0.1, 0.15, 0.2, 0.3), _brightness),
    Corruption("contrast", (0.75, 0.5, 0.4, 0.3, 0.15), _contrast),
    Corruption("Gaussian noise", (0.04, 0.06, 0.08, 0.09, 0.1), _noise),
    Corruption("blur", (0.4, 0.6, 0.7, 0.8, 1.0), _blur),
    Corruption("JPEG", (80, 65, 58, 50, 40), _jpeg),
)
"""The kinds of corruption."""


def to_bytes(image: Photograph) -> NDArray[np.uint8]:
    """Return an image in [0, 1] with 8 bits per value, clipped and rounded."""
    return np.asarray(np.rint(255 * image.clip(0, 1)), dtype=np.uint8)


def corrupted(images: NDArray[np.uint8], count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return `count` corrupted images for each kind and strength, [m, H, W, 3], and which images they show, [m].

    Each kind and strength takes the next images in turn.

    Args:
        images: [n, H, W, 3].
        count: number of images for each kind and strength.
    """
    random = np.random.default_rng(0)
    cells = [(kind, strength) for kind in CORRUPTIONS for strength in kind.strengths]
    shown = np.arange(count * len(cells)) % len(images)
    results = [
        to_bytes(cells[number // count][0].apply(images[row] / 255, cells[number // count][1], random))
        for number, row in enumerate(shown)
    ]
    return np.stack(results), shown
