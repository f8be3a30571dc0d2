"""Adversarial images: the smallest changes of pixels that change a prediction, by two attacks."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILONS = (1 / 255, 2 / 255)
"""Largest changes of a pixel."""

_STEPS = 10
# Each step of PGD has this share of the largest change.
_STEP = 0.25
_BATCH = 100


def _ascent(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the sign of the gradient of the cross-entropy with respect to the pixels."""
    pixels = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(network(pixels), labels, reduction="sum"), pixels)
    return gradient.sign()


def fgsm(network: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Return images moved by one step along the sign of the gradient (Goodfellow et al. 2015).

    Args:
        network: the network in eval mode.
        images: [n, C, H, W] in [0, 1].
        labels: [n] their classes.
        epsilon: the change of each pixel.
    """
    return (images + epsilon * _ascent(network, images, labels)).clamp(0, 1)


def pgd(network: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Return images after ten projected steps along the sign of the gradient (Madry et al. 2018), from the image.

    The arguments are those of `fgsm`.
    """
    lowest, highest = (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1)
    moved = images
    for _ in range(_STEPS):
        step = _STEP * epsilon * _ascent(network, moved, labels)
        moved = torch.minimum(torch.maximum(moved + step, lowest), highest)
    return moved


ATTACKS: dict[str, Callable[[nn.Module, Tensor, Tensor, float], Tensor]] = {"FGSM": fgsm, "PGD": pgd}
"""The attacks by name."""


def adversarial(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the images of all attacks and `EPSILONS` whose prediction is wrong, rounded to 8 bits, [m, C, H, W] uint8.

    Args:
        network: the network in eval mode.
        images: [n, C, H, W] in [0, 1]; those with a wrong prediction are left out.
        labels: [n] their classes.
    """
    network.eval()
    results = []
    for batch, classes in zip(images.split(_BATCH), labels.split(_BATCH), strict=True):
        right = _predictions(network, batch) == classes
        for attack in ATTACKS.values():
            for epsilon in EPSILONS:
                moved = (255 * attack(network, batch[right], classes[right], epsilon)).round()
                results.append(moved[_predictions(network, moved / 255) != classes[right]].to(torch.uint8))
    return torch.cat(results)


@torch.no_grad()
def _predictions(network: nn.Module, images: Tensor) -> Tensor:
    predictions: Tensor = network(images).argmax(1)
    return predictions
