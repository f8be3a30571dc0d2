"""Noise images made on the spot: unknown to every network, and no files are needed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from gradmeter.errors import InputError
from gradmeter.sources.samples.sample import Encoded, Source

NOISE = "noise:"
"""How DATA begins that are noise; a file or folder of such a name is called ./noise:..."""
KINDS = ("uniform", "normal")
COUNT = 1000
_EXPECTED = "expected noise:uniform or noise:normal, and how many if not 1,000, as in noise:uniform:5000"


class Noise(Source):
    """Images of independent pixels: U[0, 1], or N(0, 1) clipped to [0, 1] as any real image is, in 8 bits.

    Args:
        text: "noise:KIND" or "noise:KIND:COUNT".
        side: height and width in pixels.
        mode: "RGB" or "L".
        seed: other images for another seed.

    Raises:
        InputError: for another text.
    """

    classes = None
    labelled = False

    def __init__(self, text: str, side: int, mode: str = "RGB", seed: int = 0) -> None:
        _, kind, count = (*text.split(":"), str(COUNT))[:3] if text.count(":") < 3 else ("", "", "")
        if kind not in KINDS or not count.isdecimal() or int(count) == 0:
            raise InputError(f"{text}: {_EXPECTED}")
        self.name, self._kind, self._count, self._seed = text, kind, int(count), seed
        self._shape = (side, side) if mode == "L" else (side, side, 3)
        self.decoder = _Maker(kind, self._shape, seed)

    def __len__(self) -> int:
        """The number of images."""
        return self._count

    def id(self, index: int) -> str:
        """The kind and the number."""
        return f"{self._kind}-{index:06}"

    def fetch(self, index: int) -> Encoded:
        """What is stored of an image is its number."""
        return Encoded(self.id(index), str(index).encode(), None)

    def fingerprint(self) -> str:
        """A hash of the kind, the number, the size and the seed."""
        return hashlib.sha256(f"{self._kind} {self._count} {self._shape} {self._seed}".encode()).hexdigest()


@dataclass(frozen=True)
class _Maker:
    """From the number of an image to the image; the same one every time."""

    kind: str
    shape: tuple[int, ...]
    seed: int

    def __call__(self, number: bytes) -> Image.Image:
        generator = np.random.default_rng([KINDS.index(self.kind), int(number), self.seed])
        values = generator.random(self.shape) if self.kind == "uniform" else generator.standard_normal(self.shape)
        return Image.fromarray(np.rint(values.clip(0, 1) * 255).astype(np.uint8))
