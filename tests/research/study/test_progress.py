import io
import time

import pytest
from rich.console import Console

import gradmeter.runs.progress
from gradmeter.research.study.progress import RunEvent, StudyProgress

EVENTS = [
    RunEvent(0, "train", 0.5, "epoch 3"),
    RunEvent(1, "train", 1, "epoch 6"),
    RunEvent(0, "measure", 1, "9 of 9 images measured"),
    RunEvent(0, "fit", 1, "done"),
]


def shown(terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    with StudyProgress(console, 2) as progress:
        for event in EVENTS:
            progress(event)
        progress.note("tables and figures")
    return out.getvalue()


def test_quiet_outside_a_terminal() -> None:
    assert shown(terminal=False) == ""


def test_a_terminal_shows_the_study_and_the_runs_at_work() -> None:
    last = shown(terminal=True).split("study")[-1]
    assert "tables and figures" in last
    # Run 1 is done, run 2 is trained: 1.7 of 2 runs.
    assert "85 %" in last
    assert "run 2" in last
    assert "run 1" not in last


def test_what_follows_the_runs_is_named_outside_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradmeter.runs.progress, "EVERY", 0.02)
    out = io.StringIO()
    with StudyProgress(Console(file=out), 1) as progress:
        progress(RunEvent(0, "fit", 1, "done"))
        progress.note("neural meta classifiers")
        progress.note("tables and figures")
        until = time.monotonic() + 20
        while "tables and figures: at work" not in out.getvalue():
            assert time.monotonic() < until, out.getvalue()
            time.sleep(0.01)


def test_an_unknown_stage_is_a_fault_of_the_program() -> None:
    with pytest.raises(ValueError, match="polish"):
        StudyProgress(Console(quiet=True), 1)(RunEvent(0, "polish", 1, ""))
