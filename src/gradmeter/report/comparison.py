"""Tables of a comparison of methods: one block for each column of the comparison, one row for each measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from gradmeter.names import printable
from gradmeter.report.grid import Block, Cell, Grid
from gradmeter.trust.evaluation.comparison import ALL, LEAST_INPUTS, MEASURES, ROUNDING, WRONG, Comparison
from gradmeter.trust.evaluation.resampling import Interval

_ARROWS = {"higher": "↑", "lower": "↓"}
_TITLES = {WRONG: "Wrong predictions for known inputs", ALL: "Wrong predictions and unknown inputs together"}


def estimate_grid(comparison: Comparison) -> Grid:
    """A table of every measure of every method with its interval; the best method of each row is bold."""
    methods = list(dict.fromkeys(method for _, _, method in comparison.estimates))

    def cells(measure: str, column: str) -> tuple[Cell, ...]:
        intervals = [comparison.estimates.get((measure, column, method)) for method in methods]
        values = [interval.value for interval in intervals if interval is not None]
        best = max(values) if MEASURES[measure].better == "higher" else min(values)
        return tuple(
            Cell("")
            if interval is None
            else Cell(
                _number(measure, interval.value),
                _range(measure, interval),
                bold=abs(interval.value - best) <= ROUNDING,
            )
            for interval in intervals
        )

    return Grid(
        f"Measures, with {100 * comparison.confidence:g} % intervals",
        "measure",
        tuple(methods),
        _blocks(comparison, cells, {measure for measure, _, _ in comparison.estimates}),
        (
            "Shares in percent, NLL in nats; ↑ higher is better, ↓ lower is better. Brier, NLL and ECE are defined "
            "for probabilities only, so other scores have none. A group of one input has no intervals.",
        ),
    )


def difference_grid(comparison: Comparison, first: str = "P(correct)") -> Grid:
    """A table of the differences between the first method and each other one; bold if they are clear.

    Args:
        comparison: the comparison.
        first: displayed name of the first method.
    """
    others = list(dict.fromkeys(other for _, _, other in comparison.differences))

    def cell(measure: str, column: str, other: str) -> Cell:
        if (interval := comparison.differences.get((measure, column, other))) is None:
            return Cell("")
        is_clear = comparison.verdict(measure, column, other) != "no different"
        return Cell(_number(measure, interval.value, "+"), _range(measure, interval, "+"), bold=is_clear)

    def cells(measure: str, column: str) -> tuple[Cell, ...]:
        return tuple(cell(measure, column, other) for other in others)

    return Grid(
        f"{first} minus the other, with paired {100 * comparison.confidence:g} % intervals",
        "measure",
        tuple(f"\N{MINUS SIGN} {other}" for other in others),
        _blocks(comparison, cells, {measure for measure, _, _ in comparison.differences}),
        (
            "Percentage points, NLL in nats. Bold: the interval excludes zero, for better or worse, with at least "
            f"{LEAST_INPUTS} different inputs on either side.",
        ),
    )


def _blocks(
    comparison: Comparison, cells: Callable[[str, str], tuple[Cell, ...]], measures: Collection[str]
) -> tuple[Block, ...]:
    rows = [
        (measure, f"{MEASURES[measure].name}\N{NO-BREAK SPACE}{_ARROWS[MEASURES[measure].better]}")
        for measure in MEASURES
    ]
    return tuple(
        Block(
            _TITLES.get(column, f"Unknown inputs: {printable(column)}"),
            tuple((name, cells(measure, column)) for measure, name in rows if measure in measures),
        )
        for column in dict.fromkeys(column for _, column, _ in comparison.estimates)
    )


def _number(measure: str, value: float, sign: str = "") -> str:
    # The option z avoids a negative zero.
    return f"{value:{sign}z.3f}" if not MEASURES[measure].percent else f"{100 * value:{sign}z.2f}"


def _range(measure: str, interval: Interval, sign: str = "") -> str:
    if math.isnan(interval.low):  # of one sample
        return ""
    return f"[{_number(measure, interval.low, sign)}, {_number(measure, interval.high, sign)}]"
