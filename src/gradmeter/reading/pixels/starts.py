"""Start vectors of pixels: the derivative of each pixel's loss with respect to its logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gradmeter.reading.pseudo_labels import StartVector

Start = Callable[[Tensor], StartVector]


def pixel_start(start: Start, logits: Tensor) -> StartVector:
    """The start vectors of some pixels.

    Args:
        start: maps float64 logits [P, C], C >= 2, to a start vector.
        logits: [P, C] float64; one channel is the logit of the second of two classes, and the first has the logit 0.
    """
    if logits.shape[1] > 1:
        return start(logits)
    both = start(torch.cat([torch.zeros_like(logits), logits], dim=1))
    return replace(both, direction=both.direction[:, 1:])
