"""Progress of long work: bars on a terminal, elsewhere a plain line every ten seconds."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn

from gradmeter.names import printable
from gradmeter.stages import Advance

EVERY = 10.0
"""Seconds between two plain lines."""

# Of more tasks at the same time the plain lines tell the first ones.
_MOST = 3


class LongProgress(Progress):
    """Bars of rich where the console is a terminal; elsewhere lines that also come when nothing moves on.

    A console that is quiet shows neither. A task may have a field "note", which is shown behind it.
    """

    def __init__(self, *columns: ProgressColumn, console: Console, transient: bool = False) -> None:
        drawn = console.is_interactive and not console.quiet
        # The speed is that of the last thousand steps, however long ago they were.
        super().__init__(
            *columns, console=console, transient=transient, disable=not drawn, speed_estimate_period=math.inf
        )
        self._ended = threading.Event()
        self._lines: threading.Thread | None = None
        if not drawn and not console.quiet:
            self._lines = threading.Thread(target=self._tell, daemon=True)

    def start(self) -> None:
        """Begin to show progress."""
        super().start()
        if self._lines is not None:
            self._lines.start()

    def stop(self) -> None:
        """End it."""
        if self._lines is not None and not self._ended.is_set():
            self._ended.set()
            self._lines.join()
        super().stop()

    @contextmanager
    def stage(self, name: str, steps: int | None = None) -> Iterator[Advance]:
        """A task while the block runs, as `gradmeter.stages` shows it."""
        task = self.add_task(printable(name), total=steps, note="")
        try:
            yield lambda done: self.advance(task, done)
        finally:
            self.remove_task(task)

    def _tell(self) -> None:
        while not self._ended.wait(EVERY):
            unfinished = [task for task in self.tasks if not task.finished and task.visible]
            lines = [line_of(task) for task in unfinished[:_MOST]] or ["at work"]
            if len(unfinished) > _MOST:
                lines.append(f"and {len(unfinished) - _MOST} more")
            for line in lines:
                self.console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)


@contextmanager
def lone_stage(console: Console, name: str) -> Iterator[None]:
    """Show that one thing is being done while the block runs."""
    with (
        LongProgress(TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True) as shown,
        shown.stage(name),
    ):
        yield


def line_of(task: Task) -> str:
    """What a task has come to: its name, the share that is done, the rate and the time left."""
    parts = [_done(task)]
    if task.speed:
        parts.append(f"{task.speed:,.0f} a second" if task.speed >= 10 else f"{task.speed:.2g} a second")
    if task.total is not None and task.time_remaining is not None:
        parts.append(f"{timedelta(seconds=round(task.time_remaining))} left")
    else:
        parts.append(f"{timedelta(seconds=round(task.elapsed or 0))} so far")
    note = task.fields.get("note")
    return f"{task.description}: {', '.join(parts)}{f'; {note}' if note else ''}"


def _done(task: Task) -> str:
    if task.total is None:
        return "at work"
    share = f"{math.floor(task.percentage)} %"
    if task.total > 1 and task.completed == int(task.completed):
        return f"{share} ({task.completed:,.0f} of {task.total:,.0f})"
    return share
