"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from gradmeter.names import printable
from gradmeter.trust.evaluation.comparison import MEASURES, Comparison

_ARROWS = {"higher": "↑", "lower": "↓"}


def comparison_table(comparison: Comparison, measures: Sequence[str], first: str = "P(correct)") -> Table:
    """Return a table with a row for each column and method of a comparison.

    Rows of the other methods show in brackets the confidence interval of the difference, the first method minus this,
    unless there are too few inputs for one.

    Args:
        comparison: the comparison.
        measures: those to show.
        first: displayed name of the first method.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption="\n".join(
            [
                f"In brackets: {100 * comparison.confidence:g} % confidence interval of {printable(first)} minus the "
                "method.",
                *(f"{MEASURES[measure].name}: {MEASURES[measure].about}" for measure in measures),
            ]
        ),
        caption_justify="left",
    )
    for header in ("group", "method"):
        table.add_column(header, overflow="fold")
    for measure in measures:
        table.add_column(f"{MEASURES[measure].name}, % {_ARROWS[MEASURES[measure].better]}", no_wrap=True)
    methods = list(dict.fromkeys(method for _, _, method in comparison.estimates))
    for column in dict.fromkeys(column for _, column, _ in comparison.estimates):
        for method in methods:
            table.add_row(
                printable(column) if method == methods[0] else "",
                printable(method),
                *(_cell(comparison, measure, column, method) for measure in measures),
                end_section=method == methods[-1],
            )
    return table


def _cell(comparison: Comparison, measure: str, column: str, method: str) -> str:
    value = f"{100 * comparison.estimates[measure, column, method].value:6.2f}"
    difference = None if column in comparison.few else comparison.differences.get((measure, column, method))
    return value if difference is None else f"{value} [{100 * difference.low:+z.1f}, {100 * difference.high:+z.1f}]"
