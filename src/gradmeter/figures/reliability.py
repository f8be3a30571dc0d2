"""Reliability diagrams: how often predictions were right, over how probable that was said to be."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradmeter.errors import InputError
from gradmeter.evaluation.calibration import Reliability
from gradmeter.figures.style import RULE, line_styles, styled

PANEL_INCHES = 3.1
LARGEST_DOT = 160


def reliability(panels: Mapping[str, Mapping[str, Reliability]]) -> Figure:
    """Draw observed over predicted probability; the larger a dot, the more samples.

    Args:
        panels: panel title -> method -> what `gradmeter.evaluation.reliability` found.

    Returns:
        The figure (Niculescu-Mizil and Caruana 2005).

    Raises:
        InputError: no panel, or one without a method.
    """
    if not panels or not all(panels.values()):
        raise InputError(f"a panel without methods in {list(panels)}; expected {{panel: {{method: Reliability}}}}")
    styles = line_styles(list(dict.fromkeys(method for panel in panels.values() for method in panel)))
    with styled():
        figure = Figure((len(panels) * PANEL_INCHES, PANEL_INCHES + 0.5), layout="constrained")
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)
        for axes, (title, methods) in zip(grid.flat, panels.items(), strict=True):
            axes.plot([0, 1], [0, 1], color=RULE, linewidth=0.8, linestyle=(0, (2, 2)))
            for method, found in methods.items():
                axes.plot(found.predicted, found.observed, clip_on=False, **styles[method])
                axes.scatter(
                    found.predicted,
                    found.observed,
                    LARGEST_DOT * found.weight,
                    styles[method]["color"],
                    clip_on=False,
                    zorder=3,
                )
            axes.set(title=title, xlabel="probability stated", xlim=(0, 1), ylim=(0, 1), aspect="equal")
            axes.grid(visible=True)
        grid.flat[0].set_ylabel("share that was right")
        handles = [Line2D([], [], label=name, **style) for name, style in styles.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure
