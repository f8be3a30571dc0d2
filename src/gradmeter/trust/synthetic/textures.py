"""Smooth random patterns."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gradmeter.trust.synthetic.draws import smooth_field
from gradmeter.trust.synthetic.registry import register_unknown

# Number of grid points along each axis; each is used for a quarter of the images.
_CELLS = (3, 5, 8, 12)


def _fields(images: Tensor, generator: Generator) -> Tensor:
    """Return smooth fields of the images' shape."""
    parts = torch.arange(len(images)).tensor_split(len(_CELLS))
    shapes = [(len(part), *images.shape[1:]) for part in parts]
    fields = [smooth_field(shape, cells, generator, images.dtype) for shape, cells in zip(shapes, _CELLS, strict=True)]
    return torch.cat([field for field in fields if len(field)])


@register_unknown("grey texture")
def grey_texture(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Return smooth textures with values in [0, 1]."""
    return torch.sigmoid(1.5 * _fields(images, generator))


@register_unknown("binary texture")
def binary_texture(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Return textures of two values, whose shares differ between images."""
    level = torch.randn(len(images), 1, 1, 1, generator=generator, dtype=images.dtype)
    return (_fields(images, generator) > 0.7 * level).to(images.dtype)
