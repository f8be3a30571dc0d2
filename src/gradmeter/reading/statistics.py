"""Power sums of per-sample gradients and the statistics made of them. Each formula stands once, here.

Gradients of a layer are never kept: what is kept per sample is the number of entries, the sums of g, g^2, g^3, g^4
and abs(g), the smallest and the largest entry. Any grouping of parameters (layer, whole network) adds the sums and
takes the extremes, so one pass serves every grouping.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gradmeter.errors import InputError

# Below this share of the mean square a variance is rounding of the float64 sums, not spread ...
_VARIANCE_FLOOR = 1e-13
# ... and so are the third and the fourth moment below these: the larger the mean, the more of their digits cancel.
_SKEWNESS_FLOOR = 1e-9
_KURTOSIS_FLOOR = 1e-7


@dataclass(frozen=True)
class PowerSums:
    """Raw sums over one group of gradient entries.

    Attributes:
        count: number of entries per sample.
        numbers: [N, 7] float64; the sums of g, g^2, g^3, g^4 and abs(g), the smallest and the largest entry.
    """

    count: int
    numbers: Tensor

    @property
    def minimum(self) -> Tensor:
        """[N], the smallest entry."""
        return self.numbers[:, 5]

    @property
    def maximum(self) -> Tensor:
        """[N], the largest entry."""
        return self.numbers[:, 6]

    @classmethod
    def of(cls, gradients: Tensor) -> PowerSums:
        """Reduce materialised gradients [N, ...] in float64.

        float64 holds g^4 for every abs(g) between 1e-77 and 1e77, so no rescaling is needed here.
        """
        g = gradients.to(torch.float64, memory_format=torch.contiguous_format).reshape(len(gradients), -1)
        square = g * g
        minimum, maximum = torch.aminmax(g, dim=1)
        numbers = [
            g.sum(1),
            square.sum(1),
            torch.linalg.vecdot(square, g),
            torch.linalg.vecdot(square, square),
            torch.linalg.vector_norm(g, ord=1, dim=1),
            minimum,
            maximum,
        ]
        return cls(g.shape[1], torch.stack(numbers, dim=1))

    @classmethod
    def zeros(cls, samples: int, count: int, device: torch.device) -> PowerSums:
        """Sums of a gradient that is zero everywhere."""
        return cls(count, torch.zeros(samples, 7, dtype=torch.float64, device=device))

    @classmethod
    def concatenate(cls, parts: Sequence[PowerSums]) -> PowerSums:
        """Join the same group measured on several batches of samples."""
        return parts[0] if len(parts) == 1 else cls(parts[0].count, torch.cat([part.numbers for part in parts]))

    @classmethod
    def merge(cls, groups: Sequence[PowerSums]) -> PowerSums:
        """Join several groups of entries of the same samples."""
        if len(groups) == 1:
            return groups[0]
        numbers = torch.stack([group.numbers for group in groups])
        joined = [numbers[..., :5].sum(0), numbers[..., 5:6].amin(0), numbers[..., 6:].amax(0)]
        return cls(sum(group.count for group in groups), torch.cat(joined, dim=1))


@dataclass(frozen=True)
class Moments:
    """What statistics are made of: power sums of several groups of entries, and what follows from them.

    Attributes:
        numbers: [N, groups, 7] as in `PowerSums`, or [N, 7] of one group.
        count: number of entries of a group; [groups] of several.
    """

    numbers: Tensor
    count: int | Tensor

    @property
    def absolute(self) -> Tensor:
        """[N, groups] sum of abs(g), as all that follows."""
        return self.numbers[..., 4]

    @property
    def square_sum(self) -> Tensor:
        """The sum of g^2."""
        return self.numbers[..., 1]

    @property
    def minimum(self) -> Tensor:
        """The smallest entry."""
        return self.numbers[..., 5]

    @property
    def maximum(self) -> Tensor:
        """The largest entry."""
        return self.numbers[..., 6]

    @cached_property
    def mean(self) -> Tensor:
        """The mean of g."""
        return self.numbers[..., 0] / self.count

    @cached_property
    def square(self) -> Tensor:
        """The mean of g^2."""
        return self.numbers[..., 1] / self.count

    @cached_property
    def variance(self) -> Tensor:
        """The variance of g; 0 where it is rounding."""
        variance = self.square - self.mean**2
        return torch.where(variance <= _VARIANCE_FLOOR * self.square, 0.0, variance)

    @property
    def safe_variance(self) -> Tensor:
        """The variance, and 1 where that is 0: to divide by."""
        return torch.where(self.variance == 0, 1.0, self.variance)

    @property
    def third(self) -> Tensor:
        """The mean of (g - mean)^3."""
        return self.numbers[..., 2] / self.count - 3 * self.mean * self.square + 2 * self.mean**3

    @property
    def fourth(self) -> Tensor:
        """The mean of (g - mean)^4."""
        cube, fourth = self.numbers[..., 2] / self.count, self.numbers[..., 3] / self.count
        return fourth - 4 * self.mean * cube + 6 * self.mean**2 * self.square - 3 * self.mean**4


@dataclass(frozen=True)
class Statistic:
    """A statistic of gradients.

    Attributes:
        of: from moments to numbers [N, groups].
        scales: whether it is multiplied by a factor that the gradient is multiplied by.
    """

    of: Callable[[Moments], Tensor]
    scales: bool


STATISTICS: dict[str, Statistic] = {}
"""The statistics that a meter reads, by name, in the order of the last axis of `Readings.values`."""


def register_statistic(
    name: str, *, scales: bool
) -> Callable[[Callable[[Moments], Tensor]], Callable[[Moments], Tensor]]:
    """Let meters read one more statistic, which the decorated function makes of moments.

    Args:
        name: of the statistic; its columns are called "layer/name".
        scales: whether it is multiplied by a factor that the gradient is multiplied by. A meter measures the gradient
            up to a factor and puts that in afterwards.

    Raises:
        InputError: for a name that is taken, or has a colon or a slash.
    """
    if name in STATISTICS or not name or {":", "/"} & {*name}:
        raise InputError(f"no statistic can be called {name!r}; expected a new name without colons and slashes")

    def register(of: Callable[[Moments], Tensor]) -> Callable[[Moments], Tensor]:
        STATISTICS[name] = Statistic(of, scales)
        return of

    return register


@register_statistic("l1", scales=True)
def _l1(moments: Moments) -> Tensor:
    return moments.absolute


@register_statistic("l2", scales=True)
def _l2(moments: Moments) -> Tensor:
    return moments.square_sum.sqrt()


@register_statistic("min", scales=True)
def _min(moments: Moments) -> Tensor:
    return moments.minimum


@register_statistic("max", scales=True)
def _max(moments: Moments) -> Tensor:
    return moments.maximum


@register_statistic("mean", scales=True)
def _mean(moments: Moments) -> Tensor:
    return moments.mean


@register_statistic("std", scales=True)
def _std(moments: Moments) -> Tensor:
    return moments.variance.sqrt()


@register_statistic("skewness", scales=False)
def _skewness(moments: Moments) -> Tensor:
    # Standardised by the deviation first: variance^2 would underflow for gradients below 1e-77.
    safe = moments.safe_variance
    rounded = moments.variance <= _SKEWNESS_FLOOR * moments.square
    return torch.where(rounded, 0.0, moments.third / (safe * safe.sqrt()))


@register_statistic("kurtosis", scales=False)
def _kurtosis(moments: Moments) -> Tensor:
    safe = moments.safe_variance
    rounded = moments.variance <= _KURTOSIS_FLOOR * moments.square
    return torch.where(rounded, 0.0, moments.fourth / safe / safe - 3)


METRICS = tuple(STATISTICS)
"""The eight statistics of the paper, which every meter reads."""

ACTIVATION_METRICS = (*METRICS, "positive")
"""Names of the metrics of a layer's output; "positive" is the share of entries above 0."""


def statistics(group: PowerSums, names: Sequence[str] = METRICS) -> Tensor:
    """Statistics of one group, [N, names] float64.

    Population moments; kurtosis is Fisher's (0 for a normal distribution), as in scipy.stats. Where the variance is
    zero, skewness and kurtosis are 0; so is skewness where the deviation is less than 3e-5 of the root mean square, and
    kurtosis below 3e-4: rounding of the sums would be all there is in them.
    """
    return _statistics(Moments(group.numbers, group.count), names)


def statistics_of_each(groups: Sequence[PowerSums], names: Sequence[str] = METRICS) -> Tensor:
    """Statistics of several groups of entries of the same samples, [N, groups, names] float64."""
    numbers = torch.stack([group.numbers for group in groups], dim=1)
    count = torch.tensor([group.count for group in groups], dtype=numbers.dtype, device=numbers.device)
    return _statistics(Moments(numbers, count), names)


def _statistics(moments: Moments, names: Sequence[str]) -> Tensor:
    return torch.stack([STATISTICS[name].of(moments) for name in names], dim=-1)
