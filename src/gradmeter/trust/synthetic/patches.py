"""Permutations of image patches."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gradmeter.trust.synthetic.registry import register_unknown


def _permuted(images: Tensor, cells: int, generator: Generator) -> Tensor:
    """Permute cells x cells patches of each image, or fewer along a side with fewer pixels.

    If the size is no multiple of `cells`, the remainder at the border is unchanged.
    """
    rows, columns = (min(cells, size) for size in images.shape[2:])
    if not len(images) or rows * columns == 1:
        return images
    height, width = images.shape[2] // rows, images.shape[3] // columns
    samples, channels = images.shape[:2]
    inner = images[:, :, : height * rows, : width * columns]
    patches = inner.reshape(samples, channels, rows, height, columns, width).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    order = torch.stack([torch.randperm(rows * columns, generator=generator) for _ in range(samples)])
    # Replace identity permutations by a shift by one patch.
    is_identity = (order == torch.arange(rows * columns)).all(dim=1)
    order[is_identity] = order[is_identity].roll(1, dims=1)
    moved = patches[torch.arange(samples)[:, None], order]
    moved = moved.unflatten(1, (rows, columns)).permute(0, 3, 1, 4, 2, 5).reshape(inner.shape)
    permuted = images.clone()
    permuted[:, :, : height * rows, : width * columns] = moved
    return permuted


@register_unknown("shuffled quarters")
def shuffled_quarters(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Permute the four quarters of each image."""
    return _permuted(images, 2, generator)


@register_unknown("permuted patches")
def permuted_patches(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Permute 4 x 4 patches of one half of the images, and 7 x 7 patches of the other half."""
    half = len(images) // 2
    return torch.cat([_permuted(images[:half], 4, generator), _permuted(images[half:], 7, generator)])
