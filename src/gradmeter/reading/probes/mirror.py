"""A second look: predict the mirror image of doubtful images, too, and average the logits of both."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor, nn

from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network import answer

MIRROR, MIRROR_LOGIT = "mirror", "mirror_logit"
"""Names of the probe's scores."""


@dataclass(frozen=True)
class Mirror:
    """A probe that predicts two views of an image, and returns scores of their averaged logits.

    They are "mirror", the log odds that the prediction is wrong, and "mirror_logit", the largest logit. The views are
    the image and its mirror image, left and right exchanged. An image whose own log odds are at most `above` is not
    looked at again, and its own logits count. So do those of inputs that are not a single tensor
    [N, channels, height, width] of floating-point numbers, which have no mirror image.

    Args:
        above: largest log odds for which one look is enough.
    """

    above: float = -inf

    needs_gradients: ClassVar[bool] = False

    def __call__(self, network: nn.Module, inputs: Inputs, logits: Tensor) -> dict[str, Tensor]:
        """Return the scores [N] of images with logits [N, C]."""
        means = logits.detach().double().clone()
        classes = means.argmax(dim=1)
        odds = wrong_log_odds(means, classes)
        rows = (odds > self.above).nonzero().flatten().tolist()
        if rows and _are_images(inputs):
            with torch.no_grad():
                mirrored = answer(network, inputs.rows(rows).map(lambda images: images.flip(3)))
            both = (means[rows] + mirrored.double()) / 2
            means[rows] = torch.where(both.isfinite().all(dim=1, keepdim=True), both, means[rows])
            odds = wrong_log_odds(means, classes)
        return {MIRROR: odds, MIRROR_LOGIT: means.amax(dim=1)}


def wrong_log_odds(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the log odds [N] that one class per sample is wrong, by the softmax of logits [N, C]."""
    others = logits.scatter(1, classes[:, None], -inf).logsumexp(dim=1)
    odds: Tensor = others - logits.gather(1, classes[:, None])[:, 0]
    return odds


def _are_images(inputs: Inputs) -> bool:
    tensors = inputs.tensors
    return len(tensors) == 1 and tensors[0].dim() == 4 and tensors[0].is_floating_point()
