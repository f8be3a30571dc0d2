"""Horizontal bars of named numbers, the first at the top."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradmeter.errors import InputError
from gradmeter.report.figures.style import COLOURS, INK, NARROW_INCHES, styled
from gradmeter.report.figures.style import label as shown

INCHES = 7.0
BAR_INCHES = 0.26
# On a narrow screen, the names are above their bars.
NARROW_BAR_INCHES = 0.4


def bars(values: Mapping[str, tuple[float, float]], label: str, *, narrow: bool = False) -> Figure:
    """Draw a bar with an error bar for each name.

    Args:
        values: name -> (value, spread), in order.
        label: the label of the axis.
        narrow: whether the figure is for a narrow screen.

    Returns:
        The figure.

    Raises:
        InputError: if there are no values.
    """
    if not values:
        raise InputError("no values; expected at least one: {name: (value, spread)}")
    with styled():
        width, row = (NARROW_INCHES, NARROW_BAR_INCHES) if narrow else (INCHES, BAR_INCHES)
        figure = Figure((width, 0.8 + row * len(values)), layout="constrained")
        axes = figure.add_subplot()
        heights, spreads = zip(*values.values(), strict=True)
        axes.barh(
            range(len(values)),
            heights,
            xerr=spreads,
            color=COLOURS[0],
            height=0.35 if narrow else 0.7,
            ecolor=INK,
            error_kw={"linewidth": 0.8},
        )
        axes.set_yticks(range(len(values)), list(map(shown, values)))
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.grid(visible=True, axis="x")
        axes.tick_params(axis="y", length=0)
        axes.axvline(0, color=INK, linewidth=0.8)
        if narrow:
            _name_above(axes)
    return figure


def _name_above(axes: Axes) -> None:
    for place, label in enumerate(axes.get_yticklabels()):
        axes.annotate(
            label.get_text(),
            (0, place),
            (0, 8),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )
    axes.tick_params(axis="y", labelleft=False)
    axes.margins(y=0.06)
