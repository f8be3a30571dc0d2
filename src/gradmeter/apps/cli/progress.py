"""What people see while a command works, and who may write its output meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.progress import TaskID

from gradmeter.apps.cli.exit_codes import INTERRUPTED
from gradmeter.apps.cli.terminal import Terminal
from gradmeter.locks import locked
from gradmeter.names import printable
from gradmeter.runs.progress import Progress
from gradmeter.sources.samples.location import Location
from gradmeter.stages import show_stages

if TYPE_CHECKING:
    from gradmeter.runs.measuring import Skipped, Work

_SCHEME = "://"


class Bars:
    """Progress on standard error, and a line for each sample that is skipped.

    Args:
        progress: shows it.
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
        from gradmeter.runs.measuring import Work

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
def bars(out: str | Path | None, *, quiet: bool) -> Iterator[Bars]:
    """What a command shows while the block runs, in which it is the only writer of its output.

    Args:
        out: the output, None where nothing is written; in an object store nobody is kept from writing.
        quiet: show no progress; what is skipped and what should be known is said all the same.

    Raises:
        OutputError: if another process writes there.
    """
    with working(out):
        lines = Terminal(stderr=True)
        with Progress(Terminal(stderr=True, quiet=quiet), transient=True) as progress, show_stages(progress.stage):
            yield Bars(progress, lines)


@contextmanager
def working(out: str | Path | None) -> Iterator[None]:
    """Be the only writer of an output while the block runs; interrupted, it says that nothing is lost.

    Raises:
        OutputError: if another process writes there.
    """
    try:
        folder = None if out is None else _local(out)
        with nullcontext() if folder is None else locked(folder):
            yield
    except KeyboardInterrupt:
        Terminal().say("Stopped. Nothing is lost: the same command goes on where it stood.")
        raise typer.Exit(INTERRUPTED) from None


def trial_device(device: str | None, engine: str = "local") -> str:
    """Where a network is tried: here, also where others will run it."""
    return "cpu" if engine == "ray" else device or best_device()


def _local(out: str | Path) -> Path | None:
    """The path of an output; None where it lies in an object store."""
    if _SCHEME not in str(out):
        return Path(out)
    place = Location(out)
    return Path(place.path()) if place.is_local else None


def best_device() -> str:
    """Where a network runs if nobody says where."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
