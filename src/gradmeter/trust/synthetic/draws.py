"""Random numbers, one for each image."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def between(low: float, high: float, images: Tensor, generator: Generator) -> Tensor:
    """Uniform numbers [N, 1, 1, 1], one for each of the images [N, ...]."""
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=generator, dtype=images.dtype)


def coin(images: Tensor, generator: Generator) -> Tensor:
    """True or false, [N, 1, 1, 1]."""
    return torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5


def smooth_field(shape: tuple[int, ...], cells: int, generator: Generator, dtype: torch.dtype) -> Tensor:
    """Normal numbers [N, C, H, W] that change over about a `cells`-th of the height and width."""
    samples, channels, height, width = shape
    coarse = torch.randn(samples, channels, cells, cells, generator=generator, dtype=dtype)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
