"""Adversarial images: small changes of images that make a network predict another class."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = 10
"""Steps of PGD."""
# Size of a step of PGD, relative to the largest change.
_STEP = 0.25


def fgsm(network: nn.Module, images: Tensor, labels: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """Return images changed by one step of the given size along the sign of the gradient (Goodfellow et al. 2015).

    Args:
        network: maps images [N, C, H, W] in [0, 1] to logits [N, classes].
        images: [N, C, H, W] in [0, 1].
        labels: [N] classes to lead away from.
        size: largest change of a pixel.
        generator: unused; `pgd` starts from random images.
    """
    return (images + size * _gradient(network, images, labels).sign()).clamp(0, 1)


def pgd(network: nn.Module, images: Tensor, labels: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """Return images after `STEPS` small steps from a random start, kept within `size` (Madry et al. 2018).

    The arguments are those of `fgsm`.
    """
    low, high = (images - size).clamp(min=0), (images + size).clamp(max=1)
    noise = torch.rand(images.shape, generator=generator, dtype=images.dtype)
    changed = torch.minimum(torch.maximum(images + size * (2 * noise - 1), low), high)
    for _ in range(STEPS):
        step = _STEP * size * _gradient(network, changed, labels).sign()
        changed = torch.minimum(torch.maximum(changed + step, low), high)
    return changed


ATTACKS: dict[str, Callable[[nn.Module, Tensor, Tensor, float, torch.Generator], Tensor]] = {"FGSM": fgsm, "PGD": pgd}
"""The attacks by name."""


def _gradient(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the cross entropy with respect to the images, in eval mode."""
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        loss = F.cross_entropy(network(images), labels, reduction="sum")
        return torch.autograd.grad(loss, images)[0]
