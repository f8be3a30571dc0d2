"""Noise images made on the spot: unknown to every network, and no files are needed."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from gradmeter.errors import InputError
from gradmeter.samples.sample import Sample, Source

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

    def __len__(self) -> int:
        """The number of images."""
        return self._count

    def id(self, index: int) -> str:
        """The kind and the number."""
        return f"{self._kind}-{index:06}"

    def read(self, index: int) -> Sample:
        """Make one image; the same one every time."""
        generator = np.random.default_rng([KINDS.index(self._kind), index, self._seed])
        values = generator.random(self._shape) if self._kind == "uniform" else generator.standard_normal(self._shape)
        return Sample(self.id(index), Image.fromarray(np.rint(values.clip(0, 1) * 255).astype(np.uint8)), None)

    def fingerprint(self) -> str:
        """A hash of the kind, the number, the size and the seed."""
        return hashlib.sha256(f"{self._kind} {self._count} {self._shape} {self._seed}".encode()).hexdigest()
