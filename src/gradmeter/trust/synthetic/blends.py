"""Two images of different classes in one."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gradmeter.trust.synthetic.draws import between, coin
from gradmeter.trust.synthetic.registry import register_unknown


@register_unknown("blend")
def blend(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """The mean of both, with weights between 0.35 and 0.65 (Zhang et al. 2018, mixup)."""
    weight = between(0.35, 0.65, images, generator)
    return weight * images + (1 - weight) * others


@register_unknown("overlay")
def overlay(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Of each number the one that is farther from the images' median: one drawn over the other."""
    middle = images.median()
    return torch.where((images - middle).abs() >= (others - middle).abs(), images, others)


@register_unknown("halves")
def halves(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """One half of each: upper and lower, or left and right, as far as there are two along a side."""
    rows, columns = images.clone(), images.clone()
    height, width = images.shape[2:]
    rows[:, :, height // 2 :] = others[:, :, height // 2 :]
    columns[:, :, :, width // 2 :] = others[:, :, :, width // 2 :]
    if min(height, width) == 1:
        return rows if height > width else columns
    return torch.where(coin(images, generator), rows, columns)
