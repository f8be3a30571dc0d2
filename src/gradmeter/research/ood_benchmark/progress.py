"""What a comparison tells about its progress, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn

from gradmeter.runs.progress import LongProgress


@dataclass(frozen=True)
class JobEvent:
    """A step of one network.

    Attributes:
        network: task and run.
        done: share of its work that is done.
        note: what is being done.
    """

    network: str
    done: float
    note: str


class ComparisonProgress:
    """Progress of each network at work."""

    def __init__(self, console: Console) -> None:
        self._progress = LongProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: JobEvent) -> None:
        """Show an event."""
        if event.network not in self._bars:
            self._bars[event.network] = self._progress.add_task(event.network, total=1, note="")
        self._progress.update(self._bars[event.network], completed=event.done, note=event.note)
