"""Lines that are printed while bars are shown on a terminal."""

import io

import pytest

from gradmeter.apps.cli.judge import _print_rows
from gradmeter.apps.cli.progress import bars


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


def test_verdicts_do_not_follow_a_bar_on_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", screen := Screen())
    monkeypatch.setattr("sys.stdout", screen)
    with bars(None, quiet=False) as shown:
        shown.begin("judging cats", 2)
        _print_rows([{"id": number} for number in range(2)], shown, as_json=True)
        shown.advance(1)
    bar, _, verdicts = screen.getvalue().partition('{"id": 0}')
    assert "judging cats" in bar
    assert bar.endswith("\x1b[2K")
    assert verdicts == '\n{"id": 1}\n'
