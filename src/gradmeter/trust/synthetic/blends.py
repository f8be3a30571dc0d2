"""Combinations of two images of different classes."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gradmeter.trust.synthetic.draws import between, coin
from gradmeter.trust.synthetic.registry import register_unknown


@register_unknown("blend")
def blend(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Return weighted means with weights between 0.35 and 0.65 (mixup, Zhang et al. 2018)."""
    weight = between(0.35, 0.65, images, generator)
    return weight * images + (1 - weight) * others


@register_unknown("overlay")
def overlay(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Select, for each value, the image whose value is farther from the median of all images."""
    middle = images.median()
    return torch.where((images - middle).abs() >= (others - middle).abs(), images, others)


@register_unknown("halves")
def halves(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Join halves of both images: upper and lower, or left and right."""
    stacked, side_by_side = images.clone(), images.clone()
    height, width = images.shape[2:]
    stacked[:, :, height // 2 :] = others[:, :, height // 2 :]
    side_by_side[:, :, :, width // 2 :] = others[:, :, :, width // 2 :]
    if min(height, width) == 1:
        return stacked if height > width else side_by_side
    return torch.where(coin(images, generator), stacked, side_by_side)
