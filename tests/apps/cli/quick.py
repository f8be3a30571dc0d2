"""A quick command line, for tests of what commands do with networks and data."""

import pytest

from apps.cli.commands import unpainted_main
from trust.quick import fit_quickly


def quick_main() -> None:
    """The command line, with small fits and without the figures of reports, which take most of its time."""
    fit_quickly(pytest.MonkeyPatch())
    unpainted_main()
