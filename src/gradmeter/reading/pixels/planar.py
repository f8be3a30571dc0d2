"""Power sums of many pixels, with each of the seven numbers contiguous over the pixels.

Operations on a few thousand pixels are then several times as fast as on rows of seven numbers. `PowerSums.numbers` of
such sums is the transpose, [P, 7] as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradmeter.reading.kernels import reduce
from gradmeter.reading.statistics import PowerSums

_SUMS = 7


def planar(count: int, numbers: Tensor) -> PowerSums:
    """Power sums [P, 7] over `count` entries, rearranged."""
    return PowerSums(count, numbers.T.contiguous().T)


def reduced(values: Tensor) -> PowerSums:
    """Power sums of the entries of each row of values [P, entries]."""
    sums = reduce(values)
    return planar(sums.count, sums.numbers)


def of_constant(values: Tensor) -> PowerSums:
    """Power sums of one entry per pixel, [P] float64."""
    square = values * values
    return PowerSums(1, torch.stack([values, square, square * values, square * square, values.abs(), values, values]).T)


def merged(groups: Sequence[PowerSums]) -> PowerSums:
    """Merge several groups of entries of the same pixels into one group."""
    if len(groups) == 1:
        return groups[0]
    total = groups[0].numbers.T.clone(memory_format=torch.contiguous_format)
    for group in groups[1:]:
        numbers = group.numbers.T
        total[:5] += numbers[:5]
        torch.minimum(total[5], numbers[5], out=total[5])
        torch.maximum(total[6], numbers[6], out=total[6])
    return PowerSums(sum(group.count for group in groups), total.T)


def product(left: PowerSums, right: PowerSums) -> PowerSums:
    """Power sums of the outer product of two groups: products of their sums, extremes among four products."""
    one, other = left.numbers.T, right.numbers.T
    numbers = one.new_empty(_SUMS, one.shape[1])
    torch.mul(one[:5], other[:5], out=numbers[:5])
    same, crossed = one[5:] * other[5:], one[5:] * other[5:].flip(0)
    lower, upper = torch.minimum(same, crossed), torch.maximum(same, crossed)
    torch.minimum(lower[0], lower[1], out=numbers[5])
    torch.maximum(upper[0], upper[1], out=numbers[6])
    return PowerSums(left.count * right.count, numbers.T)
