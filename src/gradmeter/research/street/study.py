"""The whole study: every network, the results, then the page."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from gradmeter.errors import DataError, InputError
from gradmeter.research.speed_benchmark.machine import counted_cores, describe_machine
from gradmeter.research.street.page import Made, write_page
from gradmeter.research.street.pixels import BLOCK
from gradmeter.research.street.quality import Quality
from gradmeter.research.street.results import read_results
from gradmeter.research.street.run import Job, conclude, perform, results_path
from gradmeter.research.street.sample import PIXELS
from gradmeter.research.street.scenes import ARCHIVE, TITLES, Street, load_street
from gradmeter.research.street.training import EPOCHS
from gradmeter.runs.engines import run_tasks
from gradmeter.runs.progress import Nested, Progress, lone_stage
from gradmeter.runs.store import Store, StoreKind
from gradmeter.version import __version__

NETWORKS = 3
"""Networks of each lesson, by default."""
_KIND = StoreKind("street.json", "a study of pixels", "gradmeter pixels study", {"commands": list})
_VERSIONS = ("torch", "scikit-learn", "numpy")
# What scores are made with, beside the arguments; folders of earlier methods lack these entries.
_SETTINGS = {"logits": "upsampled to the images", "epochs": EPOCHS, "pixels": PIXELS, "block": BLOCK}


@dataclass(frozen=True)
class StreetStudy:
    """A study of the pixels and segments of street scenes.

    Attributes:
        command: the user's command.
        data: folder of the archive.
        networks: number of networks that are trained for each lesson.
    """

    command: str
    data: Path
    networks: int = NETWORKS

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            InputError: if there are no networks.
            DataError: if the archive is missing or not of the expected form.
        """
        if self.networks < 1:
            raise InputError(f"networks={self.networks}; expected at least 1 for each lesson")
        if not self.data.is_dir():
            raise DataError(f"--data {self.data} is not a folder; give the folder that holds {ARCHIVE}")
        load_street(self.data)

    def identity(self) -> dict[str, Any]:
        """Return the entries of the manifest that must be equal to continue the study."""
        archive = hashlib.sha256((self.data / ARCHIVE).read_bytes()).hexdigest()
        return {"gradmeter": __version__, "networks": self.networks, ARCHIVE: archive, **_SETTINGS}


def run_study(study: StreetStudy, folder: Path, *, workers: int, console: Console, fresh: bool = False) -> Path:
    """Run a study, or continue it, and write the page.

    Args:
        study: what to run.
        folder: the output folder, with networks, scores, results and the page.
        workers: number of processes, each with one network and one thread.
        console: where progress is shown.
        fresh: start over.

    Returns:
        The path of street.md.

    Raises:
        OutputError: if the folder holds something else, or work made with other settings or data.
        DataError: if the archive is damaged, or holds too few scenes.
    """
    store, identity = Store(folder, _KIND), study.identity()
    jobs = [Job(lesson, seed, study.data, folder) for seed in range(study.networks) for lesson in TITLES]
    if fresh:
        store.require_free()
        store.read()  # a damaged manifest is an error before anything is removed
        _clear(jobs)
    recorded = store.begin(identity, fresh=fresh)
    commands = list(dict.fromkeys([*recorded.get("commands", []), study.command]))
    store.write({**identity, "commands": commands})
    with Progress(console) as progress:
        run_tasks(perform, jobs, workers, Nested(progress, "networks", len(jobs)))
    if not results_path(folder).exists():
        with Progress(console) as progress:
            run_tasks(conclude, [jobs], 1, Nested(progress, "results", 1))
    qualities = {lesson: [Quality.read(job.quality) for job in jobs if job.lesson == lesson] for lesson in TITLES}
    made = Made(tuple(commands), (_extent(load_street(study.data)), *_provenance(workers)))
    with lone_stage(console, "writing the page"):
        return write_page(read_results(results_path(folder)), qualities, made, folder)


def _clear(jobs: Sequence[Job]) -> None:
    """Remove everything that the jobs have written."""
    for job in jobs:
        for path in job.files():
            path.unlink(missing_ok=True)
    results_path(jobs[0].folder).unlink(missing_ok=True)


def _extent(street: Street) -> str:
    """A sentence about the scenes for the page."""
    height, width = street.train.images.shape[1:3]
    counts = f"{len(street.train)} for training, {len(street.val)} for validation, {len(street.test)} for test"
    return f"Scenes of {width} x {height} pixels: {counts}."


def _provenance(workers: int) -> tuple[str, ...]:
    """Sentences for the page: date, versions and machine."""
    machine = describe_machine()
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    at_once = f"{workers} networks at once" if workers > 1 else "one network at a time"
    return (
        f"Made on {datetime.now(UTC):%Y-%m-%d} with gradmeter {__version__}; {versions}.",
        f"Machine: {machine['processor']}, {counted_cores(machine)}, {machine['system']}; {at_once}, one thread each.",
    )
