"""Figure 2 of the paper: distributions of scores for correct, wrong and unknown inputs."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d

from gradmeter.errors import InputError
from gradmeter.report.figures.style import GROUPS, INK, NARROW_INCHES, OTHER_GROUP, styled

LABELS = {"cifar10": "CIFAR-10", "uniform": "uniform noise"}

# Percentiles to draw: the outermost 1 % of a group could stretch the axis over dozens of decades.
CENTRAL = (0.5, 99.5)
BINS = 128
HALF_WIDTH = 0.42
DECADES_FOR_LOG = 2.0

Values = NDArray[np.float64]


def violins(
    panels: Mapping[str, Mapping[str, ArrayLike]], names: Mapping[str, str] | None = None, *, narrow: bool = False
) -> Figure:
    """Draw the distribution of each score in each group: density, quartiles (bar) and median (line).

    A violin covers the central 99 % of its group. If the values of a panel have the same sign and span two decades or
    more, its axis is logarithmic (of -value if they are negative), as the axis label states. The density is a histogram
    smoothed with the bandwidth of Scott's rule, whose cost hardly depends on the number of values.

    Args:
        panels: panel title (the score) -> group key -> values [n]. The keys correct, wrong, letters, cifar10 and
            uniform get the paper's colours.
        names: group key -> label on the axis, for groups whose label differs from the key.
        narrow: whether the figure is for a narrow screen: panels are below each other.

    Returns:
        The figure (Figure 2 of Oberdiek et al. 2018).

    Raises:
        InputError: if there are no panels, a group has no values, or values are not finite.
    """
    if not panels or not all(panels.values()):
        raise InputError(f"panels {list(panels)}; expected {{score: {{group: values}}}}, each with at least one group")
    labels = LABELS | dict(names or {})
    with styled():
        size = (NARROW_INCHES, 2.9 * len(panels)) if narrow else (2.9 * len(panels) + 0.3, 3.3)
        figure = Figure(size, layout="constrained")
        grid = figure.subplots(*((len(panels), 1) if narrow else (1, len(panels))), squeeze=False)
        for axes, (title, groups) in zip(grid.flat, panels.items(), strict=True):
            _panel(axes, title, {key: _checked(title, key, values) for key, values in groups.items()}, labels)
    return figure


def _panel(axes: Axes, title: str, groups: Mapping[str, Values], labels: Mapping[str, str]) -> None:
    scaled, label = _scaled(groups)
    for place, (key, values) in enumerate(scaled.items()):
        _violin(axes, place, values, GROUPS.get(key, OTHER_GROUP))
    axes.set_title(title)
    axes.set_ylabel(label)
    axes.grid(visible=True, axis="y")
    shown = [labels.get(key, key) for key in groups]
    axes.set_xticks(range(len(shown)), labels=shown, rotation=35, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)
    if label != "value":
        axes.yaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda power, _: f"$10^{{{power:.0f}}}$"))


def _scaled(groups: Mapping[str, Values]) -> tuple[dict[str, Values], str]:
    """Return the values on the scale of the axis, and the axis label."""
    pooled = np.concatenate(list(groups.values()))
    sign, label = (-1.0, "-value, log scale") if (pooled <= 0).all() else (1.0, "value, log scale")
    positive = pooled[sign * pooled > 0] * sign
    if (sign * pooled < 0).any() or positive.size == 0:
        return dict(groups), "value"
    low, high = np.percentile(positive, CENTRAL)
    if np.log10(high / low) < DECADES_FOR_LOG:
        return dict(groups), "value"
    # Zeros are values that underflowed; they are drawn at the smallest measured value.
    floor = positive.min()
    return {key: np.log10(np.maximum(sign * values, floor)) for key, values in groups.items()}, label


def _violin(axes: Axes, place: int, values: Values, colour: str) -> None:
    lower, median, upper = np.percentile(values, [25, 50, 75])
    # Round percentiles outwards to a sample, so that small groups are not cut.
    low = np.percentile(values, CENTRAL[0], method="lower")
    high = np.percentile(values, CENTRAL[1], method="higher")
    heights, density = _density(values, low, high)
    edge = HALF_WIDTH * density / density.max()
    axes.fill_betweenx(heights, place - edge, place + edge, facecolor=colour, edgecolor=INK, linewidth=0.5)
    axes.vlines(place, lower, upper, color=INK, linewidth=3)
    axes.hlines(median, place - 0.13, place + 0.13, color="white", linewidth=2.6)
    axes.hlines(median, place - 0.11, place + 0.11, color=INK, linewidth=1.4)


def _density(values: Values, low: float, high: float) -> tuple[Values, Values]:
    if high == low:
        return np.array([low - 1e-9, low + 1e-9]), np.ones(2)
    inside = values[(values >= low) & (values <= high)]
    counts, edges = np.histogram(inside, bins=BINS, range=(low, high))
    bandwidth = inside.std() * len(inside) ** -0.2
    density = gaussian_filter1d(counts.astype(np.float64), bandwidth / (edges[1] - edges[0]), mode="reflect")
    return (edges[1:] + edges[:-1]) / 2, density


def _checked(title: str, key: str, values: ArrayLike) -> Values:
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0 or not np.isfinite(array).all():
        given = "no values" if array.size == 0 else "NaN or infinity"
        raise InputError(f"group {key!r} of {title!r} contains {given}; expected finite values [n], n >= 1: remove it")
    return array
