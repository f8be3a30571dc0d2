"""The templates of HTML and Markdown pages, and the filters that show values as a reader would write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from gradmeter.names import printable
from gradmeter.report.probabilities import PERCENT, percent

REPORT = "report.html"


def environment(package: str) -> Environment:
    """The templates of a package and those that all pages share.

    Args:
        package: dotted name of the package in whose folder the page's own templates lie.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, ""), PackageLoader("gradmeter.report", "")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "plain": _plain,
        "printable": printable,
        "unbroken": unbroken,
        "duration": _duration,
        "decimals": _decimals,
        "percent": percent,
    }
    return environment


def unbroken(text: str) -> str:
    """A sentence whose percent signs stay on the lines of their numbers."""
    return text.replace(" %", PERCENT)


def _plain(value: object) -> str:
    """Show a manifest's value as a reader would write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_plain, value))
    return str(value)


def _duration(seconds: object) -> str:
    total = float(str(seconds))
    if total < 60:
        return f"{total:.1f} s"
    hours, rest = divmod(round(total), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def _decimals(value: str) -> str:
    """Show a number from a CSV file with two decimals; anything else as it is."""
    try:
        return f"{float(value):.2f}"
    except ValueError:
        return value
