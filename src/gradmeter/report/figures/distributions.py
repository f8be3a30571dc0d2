"""How P(correct) is distributed in groups of predictions."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.special import logit

from gradmeter.errors import InputError
from gradmeter.report.figures.style import COLOURS, GROUPS, INK, NARROW_INCHES, label, styled

# In log odds: what lies nearer to 0 or 1 is drawn at the edge.
EDGE = 1e-3
BINS = 60
TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
INCHES = 7.0
ROW_INCHES = 0.75
USUAL = {"right": GROUPS["correct"], "wrong": GROUPS["wrong"]}
NARROW_TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99)


def distributions(groups: Mapping[str, ArrayLike], threshold: float | None = None, *, narrow: bool = False) -> Figure:
    """Draw a histogram of P(correct) for each group, one row each, each as high as the others.

    Args:
        groups: group -> P(correct) [n] in [0, 1]; "right" is drawn in green, "wrong" in red.
        threshold: from which on predictions are accepted.
        narrow: for a narrow screen: names stand above their rows.

    Returns:
        The figure; the axis is in log odds, so that both ends can be told apart.

    Raises:
        InputError: no group, or an empty one, or numbers outside [0, 1].
    """
    arrays = {name: np.asarray(values, np.float64) for name, values in groups.items()}
    if not arrays or any(a.size == 0 or not (a.min() >= 0 and a.max() <= 1) for a in arrays.values()):
        raise InputError(f"groups {list(arrays)}; expected at least one, of numbers in [0, 1], none empty")
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
        explained = ["P(correct)"]
        if threshold is not None:
            explained.append("right of the dashed line: accepted if familiar")
        grid.flat[-1].set_xlabel((";\n" if narrow else "; ").join(explained))
    return figure
