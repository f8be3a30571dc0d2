"""Showing the progress of long work: bars on a terminal, otherwise a plain line every ten seconds."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rich import progress as rich
from rich.console import Console
from rich.text import Text

from gradmeter.names import printable
from gradmeter.stages import Advance

EVERY = 10.0
"""Seconds between plain lines."""

# Largest number of tasks that get a plain line; the others are counted in one more line.
_MOST_LINES = 3


@dataclass(frozen=True)
class Step:
    """Progress of one part of a larger task; it can be sent from another process.

    Attributes:
        part: the name of the part.
        done: the share of it that is done, from 0 to 1.
        note: the latest event in words, for the user.
    """

    part: str
    done: float
    note: str


class Progress(rich.Progress):
    """Progress bars if the console is a terminal, otherwise plain lines, printed even if nothing advances.

    A quiet console shows neither. A task's field "note" is shown behind its bar or at the end of its line.
    """

    def __init__(self, console: Console, *, transient: bool = False) -> None:
        has_bars = console.is_interactive and not console.quiet
        super().__init__(
            rich.TextColumn("{task.description}", markup=False),
            rich.BarColumn(),
            _DoneColumn(),
            rich.TimeElapsedColumn(),
            rich.TimeRemainingColumn(elapsed_when_finished=True),
            rich.TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=console,
            transient=transient,
            disable=not has_bars,
            # Estimate the speed from the last thousand steps, even if they took hours.
            speed_estimate_period=math.inf,
        )
        self._ended = threading.Event()
        self._lines: threading.Thread | None = None
        if not has_bars and not console.quiet:
            self._lines = threading.Thread(target=self._print_lines, daemon=True)

    def add_task(self, description: str, *args: Any, **fields: Any) -> rich.TaskID:
        """Add a task, by default with an empty note."""
        return super().add_task(description, *args, **{"note": "", **fields})

    def start(self) -> None:
        """Start showing progress."""
        super().start()
        if self._lines is not None:
            self._lines.start()

    def stop(self) -> None:
        """Stop showing progress."""
        if self._lines is not None and not self._ended.is_set():
            self._ended.set()
            self._lines.join()
        super().stop()

    @contextmanager
    def stage(self, name: str, steps: int | None = None) -> Iterator[Advance]:
        """Show a task while the block runs; a `gradmeter.stages.Show`."""
        task = self.add_task(printable(name), total=steps)
        try:
            yield lambda done: self.advance(task, done)
        finally:
            self.remove_task(task)

    def _print_lines(self) -> None:
        while not self._ended.wait(EVERY):
            unfinished = [task for task in self.tasks if not task.finished and task.visible]
            lines = [line_of(task) for task in unfinished[:_MOST_LINES]] or ["at work"]
            if len(unfinished) > _MOST_LINES:
                lines.append(f"and {len(unfinished) - _MOST_LINES} more")
            for line in lines:
                self.console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)


class Nested:
    """A task of many parts, with a bar for the whole task and one for each unfinished part."""

    def __init__(self, progress: Progress, name: str, parts: int) -> None:
        self._progress = progress
        self._whole = progress.add_task(name, total=parts)
        self._parts: dict[str, rich.TaskID] = {}
        self._done: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, step: Step) -> None:
        """Show a step; the bar of a finished part disappears."""
        with self._lock:
            if step.part not in self._parts:
                self._parts[step.part] = self._progress.add_task(step.part, total=1)
            self._done[step.part] = step.done
            self._progress.update(self._parts[step.part], completed=step.done, note=step.note, visible=step.done < 1)
            self._progress.update(self._whole, completed=sum(self._done.values()))


@contextmanager
def lone_stage(console: Console, name: str) -> Iterator[None]:
    """Show a single stage while the block runs."""
    with Progress(console, transient=True) as shown, shown.stage(name):
        yield


class _DoneColumn(rich.ProgressColumn):
    """A column with the number of steps that are done, or the percentage if a task does not count steps."""

    def render(self, task: rich.Task) -> Text:
        """Return the text for one task."""
        if task.total is None:
            return Text()
        if _is_counted(task):
            return Text(f"{task.completed:,.0f} of {task.total:,.0f}")
        return Text(f"{math.floor(task.percentage)} %")


def _is_counted(task: rich.Task) -> bool:
    return task.total is not None and task.total > 1 and task.completed == int(task.completed)


def line_of(task: rich.Task) -> str:
    """The plain line of a task: its name, the share that is done, the speed, the time left and the note."""
    parts = [_done(task)]
    if task.speed:
        parts.append(f"{task.speed:,.0f} a second" if task.speed >= 10 else f"{task.speed:.2g} a second")
    if task.total is not None and task.time_remaining is not None:
        parts.append(f"{timedelta(seconds=round(task.time_remaining))} left")
    else:
        parts.append(f"{timedelta(seconds=round(task.elapsed or 0))} so far")
    note = task.fields.get("note")
    return f"{task.description}: {', '.join(parts)}{f'; {note}' if note else ''}"


def _done(task: rich.Task) -> str:
    if task.total is None:
        return "at work"
    share = f"{math.floor(task.percentage)} %"
    if _is_counted(task):
        return f"{share} ({task.completed:,.0f} of {task.total:,.0f})"
    return share
