"""Noise images as a source: unknown inputs for every network, generated when they are read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from gradmeter.errors import InputError
from gradmeter.sources.samples.registry import register_scheme
from gradmeter.sources.samples.sample import Encoded, Source

KINDS = ("uniform", "normal")
COUNT = 1000
LARGEST_COUNT = 10**9
_EXPECTED = (
    "expected noise:uniform or noise:normal, with a number of images if not 1,000: noise:uniform:5000, at most "
    f"{LARGEST_COUNT:,}"
)
# Python parses no number of thousands of digits.
_MOST_DIGITS = 18


@register_scheme("noise")
class Noise(Source):
    """Images of independent 8-bit pixels, drawn from U[0, 1] or from N(0, 1) clipped to [0, 1].

    Args:
        text: "noise:KIND" or "noise:KIND:COUNT".
        side: height and width in pixels.
        mode: "RGB" or "L".
        seed: the seed of the pixels.

    Raises:
        InputError: if the text has another form.
    """

    classes = None
    labelled = False

    def __init__(self, text: str, side: int, mode: str = "RGB", seed: int = 0) -> None:
        _, kind, count = (*text.split(":"), str(COUNT))[:3] if text.count(":") < 3 else ("", "", "")
        if kind not in KINDS or not _is_count(count):
            raise InputError(f"{text}: {_EXPECTED}")
        self.name, self._kind, self._count, self._seed = text, kind, int(count), seed
        self._shape = (side, side) if mode == "L" else (side, side, 3)
        self.decoder = _NoiseDecoder(kind, self._shape, seed)

    def __len__(self) -> int:
        """The number of images."""
        return self._count

    def id(self, index: int) -> str:
        """The kind of noise and the index."""
        return f"{self._kind}-{index:06}"

    def fetch(self, index: int) -> Encoded:
        """The index as stored content; the decoder generates the image from it."""
        return Encoded(self.id(index), str(index).encode(), None)

    def fingerprint(self) -> str:
        """A hash of the kind, the number of images, their shape and the seed."""
        return hashlib.sha256(f"{self._kind} {self._count} {self._shape} {self._seed}".encode()).hexdigest()


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) <= _MOST_DIGITS and 0 < int(text) <= LARGEST_COUNT


@dataclass(frozen=True)
class _NoiseDecoder:
    """Generates the image of an index; the same one every time."""

    kind: str
    shape: tuple[int, ...]
    seed: int

    def __call__(self, index: bytes) -> Image.Image:
        generator = np.random.default_rng([KINDS.index(self.kind), int(index), self.seed])
        values = generator.random(self.shape) if self.kind == "uniform" else generator.standard_normal(self.shape)
        return Image.fromarray(np.rint(values.clip(0, 1) * 255).astype(np.uint8))
