"""Power sums of per-sample gradients and the eight metrics made of them. Each formula stands once, here.

Gradients of a layer are never kept: what is kept per sample is the number of entries, the sums of g, g^2, g^3, g^4
and |g|, the smallest and the largest entry. Any grouping of parameters (layer, whole network) adds the sums and
takes the extremes, so one pass serves every grouping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

METRICS = ("l1", "l2", "min", "max", "mean", "std", "skewness", "kurtosis")
"""Names of the metrics, in the order of the last axis of `Readings.values`."""

SCALED_METRICS = METRICS[:6]
"""Metrics that scale with the gradient; skewness and kurtosis do not depend on its scale."""

ACTIVATION_METRICS = (*METRICS, "positive")
"""Names of the metrics of a layer's output; "positive" is the share of entries above 0."""

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
        numbers: [N, 7] float64; the sums of g, g^2, g^3, g^4 and |g|, the smallest and the largest entry.
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

        float64 holds g^4 for every |g| between 1e-77 and 1e77, so no rescaling is needed here.
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


def statistics(group: PowerSums) -> Tensor:
    """The eight metrics of one group, [N, 8] float64, in the order of `METRICS`.

    Population moments; kurtosis is Fisher's (0 for a normal distribution), as in scipy.stats. Where the variance is
    zero, skewness and kurtosis are 0; so is skewness where the deviation is less than 3e-5 of the root mean square, and
    kurtosis below 3e-4: rounding of the sums would be all there is in them.
    """
    return _metrics(group.numbers, group.count)


def statistics_of_each(groups: Sequence[PowerSums]) -> Tensor:
    """The eight metrics of several groups of entries of the same samples, [N, groups, 8] float64."""
    numbers = torch.stack([group.numbers for group in groups], dim=1)
    return _metrics(
        numbers, torch.tensor([group.count for group in groups], dtype=numbers.dtype, device=numbers.device)
    )


def _metrics(numbers: Tensor, count: int | Tensor) -> Tensor:
    """From the numbers of `PowerSums` along the last axis to the metrics."""
    s1, s2, s3, s4, absolute, minimum, maximum = numbers.unbind(-1)
    mean, square, cube, fourth = (s / count for s in (s1, s2, s3, s4))
    variance = square - mean**2
    constant = variance <= _VARIANCE_FLOOR * square
    variance = torch.where(constant, 0.0, variance)
    third_moment = cube - 3 * mean * square + 2 * mean**3
    fourth_moment = fourth - 4 * mean * cube + 6 * mean**2 * square - 3 * mean**4
    # Standardise by the deviation first: variance^2 would underflow for gradients below 1e-77.
    safe = torch.where(constant, 1.0, variance)
    skewness = torch.where(variance <= _SKEWNESS_FLOOR * square, 0.0, third_moment / (safe * safe.sqrt()))
    kurtosis = torch.where(variance <= _KURTOSIS_FLOOR * square, 0.0, fourth_moment / safe / safe - 3)
    return torch.stack([absolute, s2.sqrt(), minimum, maximum, mean, variance.sqrt(), skewness, kurtosis], dim=-1)
