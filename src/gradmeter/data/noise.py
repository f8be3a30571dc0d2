"""Noise images: the unknown concepts that need no files (R12, R13)."""

from __future__ import annotations

import numpy as np

from gradmeter.data.concept import SIDE, Concept

UNIFORM_SOURCE = "every pixel from U[0, 1], drawn afresh for each run"
NORMAL_SOURCE = "every pixel from N(0, 1), unclipped, drawn afresh for each run"
CLIPPED_NORMAL_SOURCE = "every pixel from N(0, 1) clipped to [0, 1], drawn afresh for each run"


def uniform(count: int, generator: np.random.Generator) -> Concept:
    """`count` images of U[0, 1], float32."""
    return Concept("uniform", generator.random((count, SIDE, SIDE), dtype=np.float32))


def normal(count: int, generator: np.random.Generator, clip: bool) -> Concept:
    """`count` images of N(0, 1), float32; `clip` brings them into [0, 1] as any real image is."""
    images = generator.standard_normal((count, SIDE, SIDE), dtype=np.float32)
    return Concept("normal", images.clip(0, 1) if clip else images)
