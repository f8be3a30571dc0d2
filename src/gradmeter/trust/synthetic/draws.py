"""Random numbers for batches of images."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def between(low: float, high: float, images: Tensor, generator: Generator) -> Tensor:
    """Return uniform random numbers [N, 1, 1, 1] between `low` and `high`, one for each of N images."""
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=generator, dtype=images.dtype)


def coin(images: Tensor, generator: Generator) -> Tensor:
    """Return random booleans [N, 1, 1, 1], one for each of N images."""
    return torch.rand(len(images), 1, 1, 1, generator=generator, dtype=torch.float32) < 0.5


def smooth_field(shape: tuple[int, ...], cells: int, generator: Generator, dtype: torch.dtype) -> Tensor:
    """Return smooth fields [N, C, H, W]: normal numbers on a grid of `cells` x `cells` points, interpolated."""
    samples, channels, height, width = shape
    coarse = torch.randn(samples, channels, cells, cells, generator=generator, dtype=dtype)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
