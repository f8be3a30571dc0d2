"""Named numbers as horizontal bars, the first at the top."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from gradmeter.errors import InputError
from gradmeter.figures.style import COLOURS, INK, styled

INCHES = 7.0
BAR_INCHES = 0.26


def bars(values: Mapping[str, tuple[float, float]], label: str) -> Figure:
    """Draw a bar for each name, with its spread.

    Args:
        values: name -> (value, spread), in order.
        label: of the axis.

    Returns:
        The figure.

    Raises:
        InputError: no value.
    """
    if not values:
        raise InputError("no bars; expected at least one: pass {name: (value, spread)}")
    with styled():
        figure = Figure((INCHES, 0.8 + BAR_INCHES * len(values)), layout="constrained")
        axes = figure.add_subplot()
        heights, spreads = zip(*values.values(), strict=True)
        axes.barh(
            list(values), heights, xerr=spreads, color=COLOURS[0], height=0.7, ecolor=INK, error_kw={"linewidth": 0.8}
        )
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.grid(visible=True, axis="x")
        axes.tick_params(axis="y", length=0)
        axes.axvline(0, color=INK, linewidth=0.8)
    return figure
