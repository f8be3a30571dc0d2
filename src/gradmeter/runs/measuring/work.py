"""How work on a source is to be done, what is told of it meanwhile, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gradmeter.runs.measuring.dataset import Skipped

BATCH = 256
"""Samples that are loaded at once; the meter cuts them further."""


@dataclass(frozen=True)
class Work:
    """How to work through a source, and whom to tell.

    Attributes:
        device: where the network runs.
        workers: processes that read and prepare samples ahead, 0 for none; on Ray actors that hold the network, 0 for
            as many as there are cores, or GPUs.
        engine: "local" for this process, or "ray".
        fresh: start anew where the folder holds rows already.
        on_start: told the name of a source and the number of its samples.
        on_progress: told how many samples were done since it was told last, those of earlier runs first.
        on_skip: told of each sample that cannot be read, those of earlier runs first.
        on_note: told in a sentence what one should know of the work.
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
    """What a measurement came to, earlier runs of it included.

    Attributes:
        rows: samples that were measured.
        skipped: samples that could not be read.
    """

    rows: int
    skipped: tuple[Skipped, ...]
