"""Changes of tones."""

from __future__ import annotations

from torch import Generator, Tensor

from gradmeter.trust.synthetic.registry import register_unknown


@register_unknown("inversion")
def inversion(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Invert the brightness."""
    return 1 - images
