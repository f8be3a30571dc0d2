"""What a study tells about its progress, and how it is shown."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gradmeter.runs.progress import LongProgress

# Shares of a run's time, as measured on the paper's data; they only steer the estimate of the time left.
_SHARES = {"train": 0.70, "measure": 0.06, "fit": 0.24}


@dataclass(frozen=True)
class RunEvent:
    """A step of one run.

    Attributes:
        run: number of the run.
        stage: "train", "measure" or "fit".
        done: share of the stage that is done, 1 at its end.
        note: what just happened, for people.
    """

    run: int
    stage: str
    done: float
    note: str


class StudyProgress:
    """Progress with the time left: of the study, and of each run at work."""

    def __init__(self, console: Console, runs: int) -> None:
        self._progress = LongProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=console,
        )
        self._total = self._progress.add_task("study", total=runs, note="")
        self._whole: TaskID | None = None
        self._bars: dict[int, TaskID] = {}
        self._shares: dict[int, float] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: RunEvent) -> None:
        """Show an event."""
        with self._lock:
            before = sum(_SHARES[stage] for stage in list(_SHARES)[: list(_SHARES).index(event.stage)])
            share = before + _SHARES[event.stage] * event.done
            if event.run not in self._bars:
                self._bars[event.run] = self._progress.add_task(f"run {event.run + 1}", total=1, note="")
            self._shares[event.run] = share
            self._progress.update(self._bars[event.run], completed=share, note=event.note)
            self._progress.update(self._total, completed=sum(self._shares.values()))
            if share >= 1:
                self._progress.update(self._bars[event.run], visible=False)

    def note(self, text: str) -> None:
        """Say what the study as a whole is doing when its runs are done; nobody knows how long that takes."""
        if self._whole is None:
            self._whole = self._progress.add_task(text, total=None, note="")
        else:
            self._progress.update(self._whole, description=text)
