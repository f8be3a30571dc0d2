"""Distributions of a probability in groups of predictions."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.special import logit

from gradmeter.errors import InputError
from gradmeter.report.figures.style import COLOURS, GROUPS, INK, NARROW_INCHES, label, styled

# Probabilities nearer to 0 or 1 are drawn at the edge of the axis.
EDGE = 1e-3
BINS = 60
TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
INCHES = 7.0
ROW_INCHES = 0.75
USUAL = {"right": GROUPS["correct"], "wrong": GROUPS["wrong"]}
NARROW_TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99)


def distributions(
    groups: Mapping[str, ArrayLike],
    threshold: float | None = None,
    *,
    probability: str = "P(correct)",
    narrow: bool = False,
) -> Figure:
    """Draw a histogram of a probability for each group, in rows, scaled to the same height.

    Args:
        groups: group -> probability [n] in [0, 1]; "right" is drawn in green, "wrong" in red.
        threshold: the smallest probability that is accepted; None for no threshold.
        probability: the name of the probability.
        narrow: whether the figure is for a narrow screen: names are above their rows.

    Returns:
        The figure. Its axis is in log odds, which shows values near 0 and 1 in detail.

    Raises:
        InputError: if there are no groups, a group is empty, or a number is outside [0, 1].
    """
    arrays = {name: np.asarray(values, np.float64) for name, values in groups.items()}
    if not arrays or any(a.size == 0 or not (a.min() >= 0 and a.max() <= 1) for a in arrays.values()):
        raise InputError(f"groups {list(arrays)}; expected at least one, each with at least one number in [0, 1]")
    edges = np.linspace(logit(EDGE), logit(1 - EDGE), BINS + 1)
    others = iter(COLOURS * len(arrays))
    with styled():
        width = NARROW_INCHES if narrow else INCHES
        figure = Figure((width, 0.9 + ROW_INCHES * len(arrays)), layout="constrained")
        grid = figure.subplots(len(arrays), 1, sharex=True, squeeze=False)
        for axes, (name, values) in zip(grid.flat, arrays.items(), strict=True):
            counts, _ = np.histogram(logit(values.clip(EDGE, 1 - EDGE)).clip(edges[0], edges[-1]), edges)
            axes.stairs(counts / counts.max(), edges, fill=True, color=USUAL.get(name) or next(others))
            axes.set(yticks=[], ylim=(0, 1.05))
            axes.spines["left"].set_visible(False)
            if narrow:
                axes.set_title(f"{label(name)}, {values.size:,}", loc="left", pad=2)
            else:
                axes.set_ylabel(f"{label(name)}\n{values.size:,}", rotation=0, ha="right", va="center")
            if threshold is not None:
                axes.axvline(logit(np.clip(threshold, EDGE, 1 - EDGE)), color=INK, linewidth=1, linestyle=(0, (3, 2)))
        ticks = NARROW_TICKS if narrow else TICKS
        grid.flat[-1].set_xticks(logit(np.array(ticks)), labels=[f"{tick:g}" for tick in ticks])
        parts = [probability]
        if threshold is not None:
            parts.append("right of the dashed line: accepted if familiar")
        grid.flat[-1].set_xlabel((";\n" if narrow else "; ").join(parts))
    return figure
