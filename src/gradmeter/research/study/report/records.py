"""Numbers as the study's CSV files hold them: perhaps missing, perhaps not finite."""

from collections.abc import Mapping
from math import isfinite

from gradmeter.errors import InputError

Record = Mapping[str, object]
NOTHING = "\N{EN DASH}"


def number(record: Record, column: str) -> float | None:
    """Return a value as a number, or None where there is none: one run has no standard deviation.

    Raises:
        InputError: the value is neither a number nor empty.
    """
    given = record.get(column)
    if given is None or given == "":
        return None
    try:
        value = float(str(given))
    except ValueError as error:
        raise InputError(f"column {column!r} holds {given!r}; expected a number or nothing: mend that cell") from error
    return value if isfinite(value) else None


def mean_and_sem(record: Record) -> str:
    """Return "mean (sem)" with two decimals, as the paper prints it."""
    mean, sem = number(record, "mean"), number(record, "sem")
    if mean is None:
        return NOTHING
    return f"{mean:.2f}" if sem is None else f"{mean:.2f} ({sem:.2f})"


def share(record: Record) -> str:
    """Return a record's base rate, kept as a share, in percent."""
    value = number(record, "base_rate")
    return NOTHING if value is None else f"{100 * value:.2f} %"
