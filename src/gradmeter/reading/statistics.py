"""Power sums of per-sample gradients, and the statistics computed from them.

Gradients are not stored. Per sample, a group of parameters is reduced to the number of its entries, the sums of g, g^2,
g^3, g^4 and abs(g), the minimum and the maximum. To merge groups, for example into the whole network, add the sums and
take the extremes; so one pass serves every grouping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from gradmeter.errors import InputError

# A variance below this fraction of the mean square is a rounding error of the float64 sums ...
_VARIANCE_FLOOR = 1e-13
# ... and below these fractions so are the third and fourth moments, where more digits cancel.
_SKEWNESS_FLOOR = 1e-9
_KURTOSIS_FLOOR = 1e-7
# Of entries that vary less, as they do behind saturated layers in float64, the third and fourth powers underflow.
_LEAST_VARIANCE = 1e-150
# Of so few different entries, whichever they are: by their number, the skewness and Fisher's kurtosis.
_SKEWNESS_OF_FEW = {2: 0.0}
_KURTOSIS_OF_FEW = {2: -2.0, 3: -1.5}


@dataclass(frozen=True)
class PowerSums:
    """Power sums over one group of gradient entries.

    Attributes:
        count: number of entries per sample.
        numbers: [N, 7] float64; the sums of g, g^2, g^3, g^4 and abs(g), the minimum and the maximum.
    """

    count: int
    numbers: Tensor

    @property
    def minimum(self) -> Tensor:
        """The smallest entry, [N]."""
        return self.numbers[:, 5]

    @property
    def maximum(self) -> Tensor:
        """The largest entry, [N]."""
        return self.numbers[:, 6]

    @classmethod
    def of(cls, gradients: Tensor) -> PowerSums:
        """Reduce materialised gradients [N, ...] in float64.

        No rescaling is needed: float64 represents g^4 for abs(g) between 1e-77 and 1e77.
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
        """Power sums of a zero gradient."""
        return cls(count, torch.zeros(samples, 7, dtype=torch.float64, device=device))

    @classmethod
    def concatenate(cls, parts: Sequence[PowerSums]) -> PowerSums:
        """Concatenate power sums of the same group along the samples."""
        return parts[0] if len(parts) == 1 else cls(parts[0].count, torch.cat([part.numbers for part in parts]))

    @classmethod
    def merge(cls, groups: Sequence[PowerSums]) -> PowerSums:
        """Merge several groups of entries of the same samples into one group."""
        if len(groups) == 1:
            return groups[0]
        return cls(sum(group.count for group in groups), merged(torch.stack([group.numbers for group in groups])))


def merged(numbers: Tensor) -> Tensor:
    """Merge the numbers of groups [groups, ..., 7] into those of one group, [..., 7]."""
    return torch.cat([numbers[..., :5].sum(0), numbers[..., 5:6].amin(0), numbers[..., 6:].amax(0)], dim=-1)


@dataclass(frozen=True)
class Moments:
    """Power sums of several groups of entries and the moments derived from them, the input of every statistic.

    All properties are [N, groups], or [N] for one group.

    Attributes:
        numbers: [N, groups, 7] as in `PowerSums`; [N, 7] for one group.
        count: number of entries of each group, [groups], or [N, groups] if it differs between samples; an integer for
            one group.
    """

    numbers: Tensor
    count: int | Tensor

    @cached_property
    def _columns(self) -> tuple[Tensor, ...]:
        return self.numbers.unbind(-1)

    @property
    def absolute(self) -> Tensor:
        """The sum of abs(g)."""
        return self._columns[4]

    @property
    def square_sum(self) -> Tensor:
        """The sum of g^2."""
        return self._columns[1]

    @property
    def minimum(self) -> Tensor:
        """The smallest entry."""
        return self._columns[5]

    @property
    def maximum(self) -> Tensor:
        """The largest entry."""
        return self._columns[6]

    @cached_property
    def mean(self) -> Tensor:
        """The mean of g."""
        return self._columns[0] / self.count

    @cached_property
    def square(self) -> Tensor:
        """The mean of g^2."""
        return self._columns[1] / self.count

    @cached_property
    def cube(self) -> Tensor:
        """The mean of g^3."""
        return self._columns[2] / self.count

    @cached_property
    def variance(self) -> Tensor:
        """The variance of g; 0 where it is a rounding error."""
        variance = self.square - self._mean_square
        return torch.where(variance <= _VARIANCE_FLOOR * self.square, 0.0, variance)

    @cached_property
    def _mean_square(self) -> Tensor:
        return self.mean**2

    def negligible(self, floor: float) -> Tensor:
        """Return whether the variance is below this fraction of the mean square, or too small for higher moments."""
        return (self.variance <= floor * self.square) | (self.variance < _LEAST_VARIANCE)

    @cached_property
    def safe_variance(self) -> Tensor:
        """The variance as a divisor: 1 where it is 0."""
        return torch.where(self.variance == 0, 1.0, self.variance)

    def exact_for_few(self, values: Tensor, of_few: Mapping[int, float]) -> Tensor:
        """Replace the values of groups of few different entries, which would vary by rounding errors.

        Args:
            values: of a statistic.
            of_few: the exact value by the number of entries.
        """
        for count, exact in of_few.items():
            has_few = self.count == count
            if isinstance(has_few, Tensor):
                values = torch.where(has_few & (self.variance > 0), exact, values)
            elif has_few:
                values = torch.where(self.variance > 0, exact, values)
        return values

    @property
    def third(self) -> Tensor:
        """The mean of (g - mean)^3."""
        return self.cube - 3 * self.mean * self.square + 2 * self.mean**3

    @property
    def fourth(self) -> Tensor:
        """The mean of (g - mean)^4."""
        fourth = self._columns[3] / self.count
        return fourth - 4 * self.mean * self.cube + 6 * self._mean_square * self.square - 3 * self.mean**4


@dataclass(frozen=True)
class Statistic:
    """A statistic of gradients.

    Attributes:
        of: maps moments to values [N, groups].
        scales: whether the statistic scales with the gradient.
    """

    of: Callable[[Moments], Tensor]
    scales: bool


STATISTICS: dict[str, Statistic] = {}
"""The registered statistics by name, in the order of the last axis of `Readings.values`."""


def register_statistic(
    name: str, *, scales: bool
) -> Callable[[Callable[[Moments], Tensor]], Callable[[Moments], Tensor]]:
    """Register a statistic of gradients that every meter measures; the decorated function computes it from `Moments`.

    Args:
        name: name of the statistic; its columns are called "layer/name".
        scales: whether the statistic scales with the gradient, as a norm does. A meter measures the gradient up to a
            factor and multiplies these statistics by that factor.

    Raises:
        InputError: if the name is no string, empty or taken, or contains a colon or a slash.
    """
    if not isinstance(name, str) or name in STATISTICS or not name or {":", "/"} & {*name}:
        raise InputError(f"invalid name of a statistic: {name!r}; expected a new name without colons and slashes")

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
    safe = moments.safe_variance
    skewness = torch.where(moments.negligible(_SKEWNESS_FLOOR), 0.0, moments.third / (safe * safe.sqrt()))
    return moments.exact_for_few(skewness, _SKEWNESS_OF_FEW)


@register_statistic("kurtosis", scales=False)
def _kurtosis(moments: Moments) -> Tensor:
    safe = moments.safe_variance
    # Divide twice: the square of the variance may underflow.
    kurtosis = torch.where(moments.negligible(_KURTOSIS_FLOOR), 0.0, moments.fourth / safe / safe - 3)
    return moments.exact_for_few(kurtosis, _KURTOSIS_OF_FEW)


METRICS = tuple(STATISTICS)
"""The eight statistics of the paper, which every meter measures."""

ACTIVATION_METRICS = (*METRICS, "positive")
"""Names of the statistics of a layer's output; "positive" is the share of entries above 0."""


class Layers:
    """Merges the power sums of parameters into those of their layers, and of the whole network.

    It takes a few operations for all layers: for a single sample, a few for each layer would take a large part of the
    time.

    Args:
        sizes: numbers of entries of each parameter, by layer.
    """

    def __init__(self, sizes: Sequence[Sequence[int]]) -> None:
        self._counts = [*map(sum, sizes), sum(map(sum, sizes))]
        starts = [0, *accumulate(map(len, sizes))]
        # The first parameter of each layer, then the second of those that have one, and so on: layers and parameters.
        self._turns = []
        for turn in range(max(map(len, sizes))):
            layers = [layer for layer, owned in enumerate(sizes) if len(owned) > turn]
            parameters = [starts[layer] + turn for layer in layers]
            # Explicitly on the CPU, because torch's default device may be another one.
            self._turns.append((torch.tensor(layers, device="cpu"), torch.tensor(parameters, device="cpu")))

    def moments(self, numbers: Tensor) -> Moments:
        """Return moments of the layers and of the network, from the numbers [parameters, N, 7] of `PowerSums`."""
        (_, first), *further = self._turns
        layered = numbers[first]
        for layers, parameters in further:
            layered[layers] = merged(torch.stack([layered[layers], numbers[parameters]]))
        everything = torch.cat([layered, merged(layered).unsqueeze(0)]).transpose(0, 1)
        return Moments(everything, torch.tensor(self._counts, dtype=numbers.dtype, device=numbers.device))


def statistics(group: PowerSums, names: Sequence[str] = METRICS) -> Tensor:
    """Statistics of one group, [N, names] float64.

    Population moments; kurtosis is Fisher's (0 for a normal distribution), as in scipy.stats. Skewness is 0 where the
    standard deviation is below 3e-5 of the root mean square, and kurtosis below 3e-4, because they would consist of
    rounding errors, and both where it is below 1e-75, because powers underflow. For the same reason the skewness of two
    entries is 0, and the kurtosis of two or three different entries is exactly -2 or -1.5.
    """
    return statistics_of(Moments(group.numbers, group.count), names)


def statistics_of_each(groups: Sequence[PowerSums], names: Sequence[str] = METRICS) -> Tensor:
    """Statistics of several groups of entries of the same samples, [N, groups, names] float64."""
    numbers = torch.stack([group.numbers for group in groups], dim=1)
    count = torch.tensor([group.count for group in groups], dtype=numbers.dtype, device=numbers.device)
    return statistics_of(Moments(numbers, count), names)


def statistics_of(moments: Moments, names: Sequence[str] = METRICS) -> Tensor:
    """Statistics of groups with these moments, [N, groups, names] float64.

    Raises:
        InputError: if a registered function returns something else than one number for each group.
    """
    values = [STATISTICS[name].of(moments) for name in names]
    for name, value in zip(names, values, strict=True):
        if name not in METRICS:
            _require_number_of_each(name, value, moments.minimum.shape)
    return torch.stack(values, dim=-1)


def _require_number_of_each(name: str, value: object, shape: torch.Size) -> None:
    if not isinstance(value, Tensor) or value.shape != shape:
        given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
        raise InputError(f"the statistic {name!r} has {given}; expected a tensor of shape {tuple(shape)}")
