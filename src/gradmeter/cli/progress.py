"""What people see while a source is worked through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from gradmeter.cli.terminal import Terminal
from gradmeter.measuring import Skipped, Work
from gradmeter.names import printable

_INTERRUPTED = 130  # as shells report SIGINT


class Bars:
    """Progress bars on standard error, and a line for each sample that is skipped.

    Args:
        progress: draws them.
        lines: where the lines go.
    """

    def __init__(self, progress: Progress, lines: Terminal) -> None:
        self._progress, self._lines = progress, lines
        self._bar: TaskID | None = None

    def begin(self, name: str, total: int) -> None:
        """Begin a bar."""
        self._bar = self._progress.add_task(printable(name), total=total)

    def advance(self, done: int) -> None:
        """Move it on."""
        assert self._bar is not None
        self._progress.advance(self._bar, done)

    def show_skipped(self, skipped: Skipped) -> None:
        """Say what was skipped and why."""
        self._lines.say(f"skipped {skipped.id}: {skipped.reason}")

    def show_note(self, note: str) -> None:
        """Say it."""
        self._lines.say(note)

    def work(self, device: str | None, workers: int, *, fresh: bool, engine: str = "local") -> Work:
        """How to work through a source, shown by these bars."""
        return Work(
            device=device or best_device(),
            workers=workers,
            engine=engine,
            fresh=fresh,
            on_start=lambda name, samples: self.begin(f"measuring {name}", samples),
            on_progress=self.advance,
            on_skip=self.show_skipped,
            on_note=self.show_note,
        )

    def resampling(self, repetitions: int) -> Callable[[int], None]:
        """A bar for the bootstrap, begun when it is first told of progress."""
        begun = False

        def on_resample(done: int) -> None:
            nonlocal begun
            if not begun:
                self.begin("resampling", repetitions)
                begun = True
            self.advance(done)

        return on_resample


@contextmanager
def bars() -> Iterator[Bars]:
    """Bars while the block runs; interrupted, it says that nothing is lost and ends the command."""
    lines = Terminal(stderr=True)
    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    try:
        with Progress(*columns, console=lines, transient=True, disable=not lines.is_terminal) as progress:
            yield Bars(progress, lines)
    except KeyboardInterrupt:
        Terminal().say("Stopped. Nothing is lost: the same command goes on where it stood.")
        raise typer.Exit(_INTERRUPTED) from None


def trial_device(device: str | None, engine: str = "local") -> str:
    """Where a network is tried: here, also where others will run it."""
    return "cpu" if engine == "ray" else device or best_device()


def best_device() -> str:
    """Where a network runs if nobody says where."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
