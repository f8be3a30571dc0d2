"""A quick command line, for tests of what commands do with networks and data."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from apps.cli.commands import patient_main
from gradmeter.report.figures import saving
from trust.quick import fit_quickly


def quick_main() -> None:
    """The command line, with small fits and without the figures of reports, which take most of its time."""
    fit_quickly(pytest.MonkeyPatch())
    saving.save = _leave_blank
    patient_main()


def _leave_blank(figure: Figure, stem: Path) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_name(f"{stem.name}.svg").write_text("<svg/>")
