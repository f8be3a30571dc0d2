"""Start vectors of pixels: the derivative of each pixel's loss with respect to its logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from gradmeter.reading.pixels.planar import merged, reduced
from gradmeter.reading.pseudo_labels import StartVector, predicted
from gradmeter.reading.statistics import PowerSums

Start = Callable[[Tensor], StartVector]


class PixelStarts:
    """The start vectors of P pixels.

    Args:
        start: maps float64 logits [P, C], C >= 2, to a start vector.
        logits: [C, P]; one channel is the logit of the second of two classes, and the first has the logit 0.
    """

    def __init__(self, start: Start, logits: Tensor) -> None:
        self._start, self._logits = start, logits
        self._predicted = _predicted(logits) if start is predicted and len(logits) > 1 else None

    @property
    def log_scale(self) -> Tensor:
        """Logarithm of the start vectors' scales, [P] float64."""
        return self._vectors.log_scale if self._predicted is None else self._predicted[1]

    @property
    def direction(self) -> Tensor:
        """The derivatives up to their scale, [P, C] float64."""
        return self._vectors.direction

    @cached_property
    def _vectors(self) -> StartVector:
        logits = self._logits.T.double()
        if logits.shape[1] > 1:
            return self._start(logits)
        both = self._start(torch.cat([torch.zeros_like(logits), logits], dim=1))
        return replace(both, direction=both.direction[:, 1:])

    def sums(self, groups: int) -> list[PowerSums]:
        """Power sums of the derivatives up to their scale, for each of several groups of channels."""
        if groups == 1 and self._predicted is not None:
            return [self._predicted[0]]
        return [reduced(part) for part in self.direction.chunk(groups, dim=1)]

    @property
    def total(self) -> PowerSums:
        """Power sums over all channels."""
        return merged(self.sums(1))


def _predicted(logits: Tensor) -> tuple[PowerSums, Tensor] | None:
    """Power sums of the start vectors for the predicted class, and log(1 - p), without the vectors themselves.

    The start vector is -1 at the predicted class and the softmax q over the other logits elsewhere, so that its sums
    follow from those of q. None if the largest logit of a pixel occurs twice.
    """
    if logits.dtype not in (torch.float32, torch.float64):
        logits = logits.float()
    largest = logits.amax(0)
    top = logits == largest
    if int(top.count_nonzero()) != len(largest):
        return None
    others = logits.masked_fill(top, -torch.inf)
    second = others.amax(0)
    # Relative to the second largest logit, so that the sum is at least one: nothing underflows or cancels.
    weights = others.sub_(second).exp_()
    squares = weights * weights
    powers = [
        weights.sum(0),
        squares.sum(0),
        torch.linalg.vecdot(squares, weights, dim=0),
        torch.linalg.vecdot(squares, squares, dim=0),
    ]
    total, second_power, third, fourth = (power.double() for power in powers)
    share = 1 / total
    square = share * share
    numbers = torch.empty(7, len(largest), dtype=torch.float64, device=logits.device)
    numbers[0] = 0.0
    numbers[1] = second_power * square + 1
    numbers[2] = third * square * share - 1
    numbers[3] = fourth * square * square + 1
    numbers[4] = 2.0
    numbers[5] = -1.0
    numbers[6] = share
    gap = total.log() + (second.double() - largest.double())
    return PowerSums(len(logits), numbers.T), F.logsigmoid(gap)
