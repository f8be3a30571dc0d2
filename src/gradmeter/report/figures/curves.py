"""ROC, precision-recall and risk-coverage curves, one line for each score."""

from collections.abc import Mapping
from math import ceil
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError
from gradmeter.report.figures.style import NARROW_INCHES, RULE, line_styles, styled

Curve = tuple[ArrayLike, ArrayLike]
Panels = Mapping[str, Mapping[str, Curve]]

PANEL_INCHES = 3.1
# Characters in a line of a panel's title on a narrow screen.
NARROW_TITLE = 16
# Curves are thinned to 1/400 of a panel, which is less than a dot in print and makes the file ten times smaller.
GRID_STEPS = 400


def roc(curves: Panels, *, narrow: bool = False) -> Figure:
    """Draw receiver operating characteristic curves.

    Args:
        curves: panel title -> score -> (false positive rate, true positive rate), each [points] in [0, 1].
        narrow: whether the figure is for a narrow screen.

    Returns:
        The figure; a score has the same colour in every panel.

    Raises:
        InputError: if there are no panels, or the coordinates of a curve differ in length or are not finite.
    """
    return _panels(curves, "false positive rate", "true positive rate", diagonal=True, narrow=narrow)


def precision_recall(curves: Panels, *, narrow: bool = False) -> Figure:
    """Draw precision-recall curves. As `roc`, with (recall, precision) for each score."""
    return _panels(curves, "recall", "precision", diagonal=False, narrow=narrow)


def risk_coverage(curves: Mapping[str, Curve], *, narrow: bool = False) -> Figure:
    """Draw the error rate of accepted inputs over the share of accepted inputs.

    Args:
        curves: score -> (coverage, risk), each [points] in [0, 1]; drawn in percent.
        narrow: whether the figure is for a narrow screen.

    Returns:
        The figure.

    Raises:
        InputError: if there are no curves, or the coordinates of a curve differ in length or are not finite.
    """
    if not curves:
        raise InputError("no curves; expected at least one: {score: (coverage, risk)}")
    with styled():
        size = (NARROW_INCHES, 1.1 * NARROW_INCHES) if narrow else (1.9 * PANEL_INCHES, 1.25 * PANEL_INCHES)
        figure = Figure(size, layout="constrained")
        axes = figure.add_subplot()
        for (name, curve), style in zip(curves.items(), line_styles(list(curves)).values(), strict=True):
            coverage, risk = _points(name, curve)
            axes.plot(*_thinned(100 * coverage, 100 * risk), label=name, **style)
        axes.set(xlabel="coverage: inputs accepted (%)", ylabel="risk: errors among them (%)", xlim=(0, 100))
        axes.set_ylim(bottom=0)
        axes.grid(visible=True)
        if narrow:
            figure.legend(loc="outside lower center", ncols=2, handlelength=2.8)
        else:
            axes.legend(loc="best", handlelength=2.8)
    return figure


def _panels(curves: Panels, across: str, up: str, *, diagonal: bool, narrow: bool) -> Figure:
    if not curves or not all(curves.values()):
        raise InputError(f"panels {list(curves)}; expected {{panel: {{score: (x, y)}}}}, each with at least one curve")
    styles = line_styles(list(dict.fromkeys(name for panel in curves.values() for name in panel)))
    wide = min(2, len(curves)) if narrow else 2 if len(curves) in (2, 4) else 3
    tall = ceil(len(curves) / wide)
    with styled():
        panel = NARROW_INCHES / wide if narrow else PANEL_INCHES
        legend_columns = 2 if narrow else 5
        # 0.3 inches for the axis labels, and 0.2 for each row of the legend.
        size = (wide * panel, tall * panel + 0.3 + 0.2 * ceil(len(styles) / legend_columns))
        figure = Figure(size, layout="constrained")
        grid = figure.subplots(tall, wide, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(curves) :]:
            axes.remove()
        for place, (axes, (title, lines)) in enumerate(zip(grid.flat, curves.items(), strict=False)):
            _frame(axes, fill(title, NARROW_TITLE) if narrow else title, diagonal)
            # The lowest panel of a column gets the axis label; it need not be in the last row.
            if place + wide >= len(curves):
                axes.set_xlabel(across)
                axes.tick_params(labelbottom=True)
            if place % wide == 0:
                axes.set_ylabel(up)
            for name, curve in lines.items():
                axes.plot(*_thinned(*_points(name, curve)), **styles[name])
        handles = [Line2D([], [], label=name, **style) for name, style in styles.items()]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(legend_columns, len(handles)), handlelength=2.8
        )
    return figure


def _frame(axes: Axes, title: str, diagonal: bool) -> None:
    axes.set_title(title)
    axes.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    axes.grid(visible=True)
    if diagonal:
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=0.8, linestyle=(0, (2, 2)))


def _points(name: str, curve: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = (np.asarray(values, dtype=np.float64) for values in curve)
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise InputError(f"curve {name!r} has x of shape {x.shape} and y of shape {y.shape}; expected both [points]")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError(f"curve {name!r} contains NaN or infinity; expected finite points: remove undefined points")
    return x, y


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Remove points in the same cell of a fine grid as the previous point; both ends are kept."""
    scale = [max(float(np.abs(values).max()), np.finfo(float).tiny) for values in (x, y)]
    cells = np.stack([np.round(x / scale[0] * GRID_STEPS), np.round(y / scale[1] * GRID_STEPS)])
    kept = np.ones(len(x), dtype=bool)
    kept[1:-1] = (np.diff(cells, axis=1) != 0).any(axis=0)[:-1]
    return x[kept], y[kept]
