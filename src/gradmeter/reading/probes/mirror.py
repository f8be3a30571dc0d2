"""A second look: predict the mirror image of doubtful images, too, and average the logits of both."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor, nn

from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network import answer

MIRROR = "mirror"
"""Name of the probe's score."""


@dataclass(frozen=True)
class Mirror:
    """A probe that returns "mirror", the log odds that the prediction is wrong by the logits of two views.

    The views are the image and its mirror image, left and right exchanged; their logits are averaged. An image whose
    own log odds are at most `above` is not looked at again, and keeps these. Inputs that are not a single tensor
    [N, channels, height, width] of floating-point numbers have no mirror image, and keep theirs, too.

    Args:
        above: largest log odds for which one look is enough.
    """

    above: float = -inf

    needs_gradients: ClassVar[bool] = False

    def __call__(self, network: nn.Module, inputs: Inputs, logits: Tensor) -> dict[str, Tensor]:
        """Return the score [N] of images with logits [N, C]."""
        exact = logits.detach().double()
        classes = exact.argmax(dim=1)
        odds = wrong_log_odds(exact, classes)
        rows = (odds > self.above).nonzero().flatten().tolist()
        if rows and _are_images(inputs):
            with torch.no_grad():
                mirrored = answer(network, inputs.rows(rows).map(lambda images: images.flip(3)))
            means = wrong_log_odds((exact[rows] + mirrored.double()) / 2, classes[rows])
            odds[rows] = torch.where(means.isfinite(), means, odds[rows])
        return {MIRROR: odds}


def wrong_log_odds(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the log odds [N] that one class per sample is wrong, by the softmax of logits [N, C]."""
    others = logits.scatter(1, classes[:, None], -inf).logsumexp(dim=1)
    odds: Tensor = others - logits.gather(1, classes[:, None])[:, 0]
    return odds


def _are_images(inputs: Inputs) -> bool:
    tensors = inputs.tensors
    return len(tensors) == 1 and tensors[0].dim() == 4 and tensors[0].is_floating_point()
