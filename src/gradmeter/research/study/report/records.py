"""Numbers in the study's CSV files, which may be missing or not finite."""

from collections.abc import Mapping
from math import isfinite

from gradmeter.errors import InputError

Record = Mapping[str, object]
NOTHING = "\N{EN DASH}"


def number(record: Record, column: str) -> float | None:
    """Return the number in a column, or None if it is missing or not finite.

    Raises:
        InputError: the cell holds something else.
    """
    cell = record.get(column)
    if cell is None or cell == "":
        return None
    try:
        value = float(str(cell))
    except ValueError as error:
        raise InputError(f"column {column!r} holds {cell!r}; expected a number or an empty cell") from error
    return value if isfinite(value) else None


def mean_and_sem(record: Record) -> str:
    """Format "mean (sem)" with two decimals, as the paper does."""
    mean, sem = number(record, "mean"), number(record, "sem")
    if mean is None:
        return NOTHING
    return f"{mean:.2f}" if sem is None else f"{mean:.2f} ({sem:.2f})"


def share(record: Record) -> str:
    """Format the base rate of a record in percent."""
    value = number(record, "base_rate")
    return NOTHING if value is None else f"{100 * value:.2f} %"
