"""The Jinja environment of HTML and Markdown pages, and its filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from gradmeter.names import printable
from gradmeter.report.probabilities import PERCENT, percent
from gradmeter.report.scripts import data_element

REPORT = "report.html"


def environment(package: str) -> Environment:
    """A Jinja environment with the templates of a package and those shared by all pages.

    Args:
        package: the dotted name of the package that contains the templates.
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
        "zip": zip,
        "json": data_element,
    }
    return environment


def unbroken(text: str) -> str:
    """A text with no-break spaces before percent signs."""
    return text.replace(" %", PERCENT)


def _plain(value: object) -> str:
    """A value of a manifest as readable text."""
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
    minutes, remaining = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {remaining} s"


def _decimals(value: str) -> str:
    """A number from a CSV file with two decimals; other text is unchanged."""
    try:
        return f"{float(value):.2f}"
    except ValueError:
        return value
