"""Noise, and images with added noise."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gradmeter.trust.synthetic.draws import between
from gradmeter.trust.synthetic.registry import register_unknown


@register_unknown("uniform noise")
def uniform_noise(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Return independent pixels, uniform in [0, 1]."""
    return torch.rand(images.shape, generator=generator, dtype=images.dtype)


@register_unknown("added noise")
def added_noise(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Add normal noise with a standard deviation between 0.3 and 1."""
    noise = torch.randn(images.shape, generator=generator, dtype=images.dtype)
    return images + between(0.3, 1.0, images, generator) * noise
