"""Progress of a command on standard error, and the lock of its output."""

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
    """Progress bars on standard error, and a line for each skipped sample and each note.

    Args:
        progress: draws the bars.
        terminal: prints the lines.
    """

    def __init__(self, progress: Progress, terminal: Terminal) -> None:
        self._progress, self._terminal = progress, terminal
        self._bar: TaskID | None = None
        self._notes: set[str] = set()

    def begin(self, name: str, total: int) -> None:
        """Start a new bar."""
        self._bar = self._progress.add_task(printable(name), total=total)

    def advance(self, steps: int) -> None:
        """Advance the current bar."""
        assert self._bar is not None
        self._progress.advance(self._bar, steps)

    def hide(self) -> None:
        """Show no more bars; without a terminal, plain lines go on."""
        if self._progress.console.is_interactive:
            self._progress.stop()

    def show_skipped(self, skipped: Skipped) -> None:
        """Print which sample was skipped and why."""
        self._terminal.say(f"skipped {skipped.id}: {skipped.reason}")

    def show_note(self, note: str) -> None:
        """Print a note, once: a command may open or measure the same data several times."""
        if note not in self._notes:
            self._notes.add(note)
            self._terminal.say(note)

    def work(self, device: str | None, workers: int, *, fresh: bool, engine: str = "local") -> Work:
        """Return the settings of a measurement whose progress these bars show."""
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
        """Return a callback for the bootstrap, whose bar starts with the first call."""
        has_begun = False

        def on_resample(steps: int) -> None:
            nonlocal has_begun
            if not has_begun:
                self.begin("resampling", repetitions)
                has_begun = True
            self.advance(steps)

        return on_resample


@contextmanager
def bars(out: str | Path | None, *, quiet: bool) -> Iterator[Bars]:
    """Show progress while the block runs, and lock the output of the command.

    Args:
        out: the output; None if nothing is written. An object store cannot be locked.
        quiet: show no progress; skipped samples and notes are printed anyway.

    Raises:
        OutputError: if another process writes to the output.
    """
    with working(out):
        terminal = Terminal(stderr=True)
        with Progress(Terminal(stderr=True, quiet=quiet), transient=True) as progress, show_stages(progress.stage):
            yield Bars(progress, terminal)


@contextmanager
def working(out: str | Path | None) -> Iterator[None]:
    """Lock an output while the block runs; after Ctrl-C, say how to continue.

    Raises:
        OutputError: if another process writes to the output.
    """
    try:
        folder = None if out is None else _local_path(out)
        with nullcontext() if folder is None else locked(folder):
            yield
    except KeyboardInterrupt:
        message = "Interrupted." if out is None else "Interrupted. Run the same command again to continue."
        Terminal(stderr=True).say(message)
        raise typer.Exit(INTERRUPTED) from None


def trial_device(device: str | None, engine: str = "local") -> str:
    """Return the device on which the network is tried in this process: the CPU if Ray's workers will run it."""
    return "cpu" if engine == "ray" else device or best_device()


def _local_path(out: str | Path) -> Path | None:
    """Return the path of an output, or None if it lies in an object store."""
    if _SCHEME not in str(out):
        return Path(out)
    location = Location(out)
    return Path(location.path()) if location.is_local else None


def best_device() -> str:
    """Return the default device."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
