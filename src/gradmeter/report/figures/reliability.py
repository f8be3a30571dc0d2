"""Reliability diagrams: the share of correct predictions over the predicted probability."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradmeter.errors import InputError
from gradmeter.report.figures.style import NARROW_INCHES, RULE, line_styles, styled
from gradmeter.trust.evaluation.calibration import Reliability

PANEL_INCHES = 3.1
LARGEST_DOT = 160


def reliability(panels: Mapping[str, Mapping[str, Reliability]], *, narrow: bool = False) -> Figure:
    """Draw observed over predicted probability; the size of a dot shows its number of samples.

    Args:
        panels: panel title -> method -> the result of `gradmeter.trust.evaluation.reliability`.
        narrow: whether the figure is for a narrow screen: panels are below each other.

    Returns:
        The figure (Niculescu-Mizil and Caruana 2005).

    Raises:
        InputError: if there are no panels, or a panel has no methods.
    """
    if not panels or not all(panels.values()):
        raise InputError(f"panels {list(panels)}; expected {{panel: {{method: Reliability}}}}, each with a method")
    styles = line_styles(list(dict.fromkeys(method for panel in panels.values() for method in panel)))
    with styled():
        tall, wide = (len(panels), 1) if narrow else (1, len(panels))
        panel = NARROW_INCHES if narrow else PANEL_INCHES
        figure = Figure((wide * panel, tall * panel + 0.5), layout="constrained")
        grid = figure.subplots(tall, wide, sharex=narrow, sharey=True, squeeze=False)
        for axes, (title, methods) in zip(grid.flat, panels.items(), strict=True):
            axes.plot([0, 1], [0, 1], color=RULE, linewidth=0.8, linestyle=(0, (2, 2)))
            for method, bins in methods.items():
                axes.plot(bins.predicted, bins.observed, clip_on=False, **styles[method])
                axes.scatter(
                    bins.predicted,
                    bins.observed,
                    LARGEST_DOT * bins.weight,
                    styles[method]["color"],
                    clip_on=False,
                    zorder=3,
                )
            axes.set(title=title, xlim=(0, 1), ylim=(0, 1), aspect="equal")
            axes.grid(visible=True)
        for axes in grid[-1]:
            axes.set_xlabel("predicted probability")
        for axes in grid[:, 0]:
            axes.set_ylabel("share of correct predictions")
        handles = [Line2D([], [], label=name, **style) for name, style in styles.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=2.8)
    return figure
