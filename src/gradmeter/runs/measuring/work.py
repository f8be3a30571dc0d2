"""How to measure a source, how to report progress, and the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gradmeter.runs.measuring.dataset import Skipped

BATCH = 256
"""Number of samples that are loaded together; the meter may split them further."""


@dataclass(frozen=True)
class Work:
    """How to measure a source, and callbacks for progress.

    Attributes:
        device: where the network runs.
        workers: with the local engine, number of processes that load samples, 0 to load them in this process; with
            Ray, number of actors, each with its own copy of the network, 0 for one per core or GPU.
        engine: "local" for this process, or "ray".
        fresh: start over if the folder already holds rows.
        on_start: called with the name of the source and its number of samples.
        on_progress: called with the number of samples done since the last call; first with those of earlier runs.
        on_skip: called with each sample that cannot be read; first with those of earlier runs.
        on_note: called with messages for the user, each one sentence.
    """

    device: str = "cpu"
    workers: int = 0
    engine: str = "local"
    fresh: bool = False
    on_start: Callable[[str, int], None] = field(default=lambda name, samples: None)
    on_progress: Callable[[int], None] = field(default=lambda samples: None)
    on_skip: Callable[[Skipped], None] = field(default=lambda skipped: None)
    on_note: Callable[[str], None] = field(default=lambda note: None)


@dataclass(frozen=True)
class Measured:
    """The result of a measurement, including its earlier runs.

    Attributes:
        rows: number of samples that were measured.
        skipped: samples that could not be read.
    """

    rows: int
    skipped: tuple[Skipped, ...]
