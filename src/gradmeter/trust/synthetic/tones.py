"""The image in other tones."""

from __future__ import annotations

from torch import Generator, Tensor

from gradmeter.trust.synthetic.registry import register_unknown


@register_unknown("inversion")
def inversion(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Dark for light."""
    return 1 - images
