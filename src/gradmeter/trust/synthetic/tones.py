"""The image in other tones."""

from __future__ import annotations

from torch import Generator, Tensor

from gradmeter.trust.synthetic.registry import makes


@makes("inversion")
def inversion(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Dark for light."""
    return 1 - images
