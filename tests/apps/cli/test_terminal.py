"""Lines that are printed while bars are shown on a terminal."""

import io
import os
from pathlib import Path

import pytest
import typer

from gradmeter.apps.cli.judge import _print_rows, _print_skipped
from gradmeter.apps.cli.progress import bars
from gradmeter.apps.cli.tables import comparison_table
from gradmeter.apps.cli.terminal import Terminal
from gradmeter.runs.measuring import Skipped
from gradmeter.trust.evaluation.comparison import Comparison
from gradmeter.trust.evaluation.resampling import Interval


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("quiet", [False, True])
def test_lines_are_printed_above_the_bars(quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the second bar, the next change of a bar would erase them."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", screen := Screen())
    with bars(None, quiet=quiet) as shown:
        shown.begin("measuring cats", 2)
        shown.begin("measuring [dogs]", 2)
        shown.show_note("none \x1b are [red]left[/]")
    assert ("measuring [dogs]" in screen.getvalue()) is not quiet
    before, _, after = screen.getvalue().partition("none \\x1b are [red]left[/]")
    assert before.endswith("" if quiet else "\x1b[2K")
    assert after.startswith("\n")


def test_a_note_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    with bars(None, quiet=False) as shown:
        for _ in range(2):
            shown.show_note("cats: 2 of its samples have no label")
            shown.show_skipped(Skipped("0", "torn"))  # may be that of another folder
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "cats: 2 of its samples have no label", "skipped 0: torn", "skipped 0: torn"
    ]  # fmt: skip


def test_verdicts_do_not_follow_a_bar_on_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", screen := Screen())
    monkeypatch.setattr("sys.stdout", screen)
    with bars(None, quiet=False) as shown:
        shown.begin("judging cats", 2)
        _print_skipped(Skipped("0", "torn"), shown)
        _print_rows([{"id": 1}], shown, as_json=True)
        shown.advance(1)
    bar, _, verdicts = screen.getvalue().partition('{"id": "0", "skipped": "torn"}')
    assert "judging cats" in bar
    assert bar.endswith("\x1b[2K")
    assert verdicts == '\n{"id": 1}\n'


@pytest.mark.parametrize("is_file", [False, True])
def test_bars_go_on_only_if_verdicts_go_to_a_file(
    is_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `grep` or `head` print of the verdicts followed a bar on its line."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", screen := Screen())
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "w") as pipe, (tmp_path / "verdicts").open("w") as file:
        monkeypatch.setattr("sys.stdout", file if is_file else pipe)
        with bars(None, quiet=False) as shown:
            shown.begin("judging cats", 2)
            _print_rows([{"id": 0}], shown, as_json=True)
            printed = screen.getvalue()
            shown.begin("judging dogs", 2)
    assert printed.endswith("\x1b[2K") is not is_file
    assert ("judging dogs" in screen.getvalue()) is is_file


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_table_with_long_names_keeps_its_numbers(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long name made rich cut the intervals and the methods, also those of short groups."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout", screen := Screen())
    cells = {
        (measure, column, method): Interval(0.9, 0.8, 0.99)
        for measure in ("auroc", "aupr_out")
        for column in ("wrong", "holiday-photos-of-the-mountains")
        for method in ("P(correct)", "softmax")
    }
    Terminal().show(comparison_table(Comparison(cells, cells, 0.95), ("auroc", "aupr_out")))
    assert screen.getvalue().count("90.00 [+80.0, +99.0]") == len(cells)
    assert "P(correct)" in screen.getvalue()
    assert "…" not in screen.getvalue()


def test_an_interruption_is_no_row_of_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), bars(None, quiet=True):
        raise KeyboardInterrupt
    assert capsys.readouterr() == ("", "Interrupted.\n")
