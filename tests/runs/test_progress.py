"""Progress on a terminal, and as plain lines elsewhere."""

import io
import re
import threading
import time

import pytest
from rich.console import Console

from gradmeter.runs import progress
from gradmeter.runs.progress import Nested, Progress, Step, line_of, lone_stage
from gradmeter.stages import show_stages, stage


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.05)


class Stream(io.StringIO):
    """A stream that can wait for a number of lines."""

    def lines(self, count: int) -> list[str]:
        until = time.monotonic() + 20
        while len(lines := self.getvalue().splitlines()) < count:
            assert time.monotonic() < until, lines
            time.sleep(0.01)
        return lines


def test_lines_also_come_when_nothing_moves_on() -> None:
    stream = Stream()
    with Progress(Console(file=stream, width=20)) as shown:
        assert stream.lines(1)[0] == "at work"
        task = shown.add_task("measuring [red]photos:x:", total=2000)
        first = stream.lines(4)[-1]
        assert re.fullmatch(r"measuring \[red\]photos:x:: 0 % \(0 of 2,000\), 0:00:0\d so far", first), first
        shown.advance(task, 500)
        shown.advance(task, 240)
        before = len(stream.getvalue().splitlines())
        lines = stream.lines(before + 4)[before + 1 :]
    assert len({line.partition(" a second")[0] for line in lines}) == 1
    assert all("37 % (740 of 2,000), " in line and line.endswith(" left") for line in lines)
    assert threading.active_count() == len(threading.enumerate())
    ended = stream.getvalue()
    time.sleep(0.2)
    assert stream.getvalue() == ended


def test_rate_and_time_left() -> None:
    clock = iter([0.0, 0.0, 10.0, *[20.0] * 100])
    shown = Progress(Console(file=io.StringIO()))
    shown.get_time = lambda: next(clock)  # type: ignore[method-assign]
    task = shown.add_task("reading", total=1000, note="cat.png")
    shown.advance(task, 600)  # done in an earlier run: must not count towards the speed
    shown.advance(task, 100)
    assert line_of(shown.tasks[0]) == "reading: 70 % (700 of 1,000), 10 a second, 0:00:30 left; cat.png"


@pytest.mark.parametrize(
    ("total", "completed", "expected"),
    [(None, 0, "x: at work, "), (1, 0.5, "x: 50 %, "), (2, 1.7, "x: 85 %, "), (1000, 999, "x: 99 % (999 of 1,000), ")],
)
def test_what_is_done(total: float | None, completed: float, expected: str) -> None:
    shown = Progress(Console(file=io.StringIO()))
    shown.update(shown.add_task("x", total=total), completed=completed)
    assert line_of(shown.tasks[0]).startswith(expected)


def test_many_tasks_have_few_lines() -> None:
    stream = Stream()
    with Progress(Console(file=stream)) as shown:
        for number in range(20):
            shown.add_task(f"run {number}", total=1, visible=number != 1)
        at = [line for line in stream.lines(12) if line != "at work"]
    assert [line.partition(":")[0] for line in at[:4]] == ["run 0", "run 2", "run 3", "and 16 more"]


def test_quiet() -> None:
    stream = io.StringIO()
    for terminal in (False, True):
        with Progress(Console(file=stream, quiet=True, force_terminal=terminal)) as shown:
            shown.add_task("x", total=10)
            time.sleep(0.2)
    assert stream.getvalue() == ""


def test_a_terminal_has_bars_and_no_lines() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    with Progress(console) as shown:
        shown.add_task("photos", total=10)
        time.sleep(0.2)
    assert re.search("photos .*0 of 10", stream.getvalue())
    assert "photos: 0 %" not in stream.getvalue()


def test_a_terminal_that_cannot_move_its_cursor_has_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Stream()
    with Progress(Console(file=stream, force_terminal=True)) as shown:
        shown.add_task("x", total=10)
        assert any(line.startswith("x: 0 % (0 of 10), ") for line in stream.lines(3))


def test_stages_are_shown_only_while_something_shows_them() -> None:
    with stage("hashing", 3) as advance:
        advance(3)  # nothing shows progress
    shown = Progress(Console(file=io.StringIO()))
    with show_stages(shown.stage):
        with stage("hashing", 3) as advance, stage("a part"):
            advance(2)
            assert [(task.description, task.completed, task.total) for task in shown.tasks] == [
                ("hashing", 2, 3),
                ("a part", 0, None),
            ]
        assert shown.tasks == []
    with stage("hashing"):
        assert shown.tasks == []


def test_a_lone_stage() -> None:
    stream = Stream()
    with lone_stage(Console(file=stream), "reading the images"):
        assert stream.lines(1)[0].startswith("reading the images: at work, 0:00:0")


STEPS = [Step("run 1", 0.35, "epoch 3"), Step("run 2", 0.7, "epoch 6"), Step("run 1", 1, "done")]


def test_a_task_of_parts() -> None:
    shown = Progress(Console(file=io.StringIO()))
    nested = Nested(shown, "study", 2)
    for step in STEPS:
        nested(step)
    at_work = [task for task in shown.tasks if task.visible]
    assert [(task.description, task.completed, task.total) for task in at_work] == [
        ("study", pytest.approx(1.7), 2),
        ("run 2", 0.7, 1),
    ]
    assert at_work[1].fields["note"] == "epoch 6"


def test_a_terminal_shows_the_task_and_the_parts_at_work() -> None:
    stream = io.StringIO()
    with Progress(Console(file=stream, force_terminal=True, width=120)) as shown:
        nested = Nested(shown, "study", 2)
        for step in STEPS:
            nested(step)
    last = stream.getvalue().split("study")[-1]
    assert "85 %" in last
    assert "run 2" in last
    assert "run 1" not in last
