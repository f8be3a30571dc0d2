"""The whole experiment: every network, the results, then the page."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from gradmeter.research.gradient_gain.page import Made, write_page
from gradmeter.research.gradient_gain.results import SubjectResults
from gradmeter.research.gradient_gain.run import (
    Job,
    conclude,
    readings_folder,
    results_path,
    score,
    scores_folder,
    weights_path,
)
from gradmeter.research.gradient_gain.subjects import SUBJECTS, TEXTS
from gradmeter.research.gradient_gain.texts import require_babel
from gradmeter.research.inputs import require_files, require_settings
from gradmeter.research.manifest import begin_parts, commands_of
from gradmeter.research.speed_benchmark.machine import counted_cores, describe_machine
from gradmeter.runs.engines import run_tasks
from gradmeter.runs.progress import Nested, Progress, lone_stage
from gradmeter.runs.store import Manifest, Store, StoreKind
from gradmeter.version import __version__

_KIND = StoreKind("gain.json", "an experiment", "gradmeter gain", {})
_VERSIONS = ("torch", "scikit-learn", "numpy")


@dataclass(frozen=True)
class GainExperiment:
    """An experiment on what gradients add.

    Attributes:
        command: the user's command.
        data: folder of the archives, as for `gradmeter reproduce --data`.
        networks: folder of the trained ResNets; None if no subject needs it.
        subjects: keys of `SUBJECTS`.
        share: share of the validation and test inputs to use.
    """

    command: str
    data: Path
    networks: Path | None
    subjects: tuple[str, ...] = tuple(SUBJECTS)
    share: float = 1.0

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            InputError: if a subject is unknown, or the share is out of range.
            DataError: if a folder or a file is missing.
            GradmeterError: if a package that a subject needs is not installed.
        """
        require_settings("subject", self.subjects, SUBJECTS, self.share, self.data)
        for name in self.subjects:
            require_files(name, [SUBJECTS[name].weights], self.networks, self._files(name))
        if any(SUBJECTS[name].group == TEXTS for name in self.subjects):
            require_babel()

    def _files(self, name: str) -> list[Path]:
        """Return the files that a subject needs."""
        subject = SUBJECTS[name]
        files = [self.data / f"{file}.npz" for file in subject.files]
        return files if subject.weights is None or self.networks is None else [*files, self.networks / subject.weights]

    def identity(self) -> dict[str, Any]:
        """Return for each subject the entries of the manifest that must be equal to continue it."""
        hashes: dict[Path, str] = {}
        identity = {}
        for name in self.subjects:
            for path in self._files(name):
                if path not in hashes:
                    hashes[path] = hashlib.sha256(path.read_bytes()).hexdigest()
            data = {path.name: hashes[path] for path in self._files(name)}
            identity[name] = {"gradmeter": __version__, "share": self.share, "data": data}
        return identity


def run_experiment(
    experiment: GainExperiment, folder: Path, *, workers: int, console: Console, fresh: bool = False
) -> Path:
    """Run an experiment, or continue it, and write the page.

    Args:
        experiment: what to run.
        folder: the output folder, with networks, readings, scores, results and the page.
        workers: number of processes, each with one network and one thread; times are only reliable with one.
        console: where progress is shown.
        fresh: compute the scores again, from the networks and readings that exist, unless they were made with other
            settings or data.

    Returns:
        The path of gradients.md.

    Raises:
        OutputError: if the folder holds something else, or work made with other settings.
        DataError: if a file of data is damaged.
    """
    store = Store(folder, _KIND)
    with lone_stage(console, "reading the data"):
        manifest = _begin(experiment, store, fresh=fresh)
    common = experiment.data, experiment.networks, folder, experiment.share
    jobs = [Job(name, run, *common) for name in experiment.subjects for run in range(SUBJECTS[name].runs)]
    with Progress(console) as progress:
        run_tasks(score, jobs, workers, Nested(progress, "networks", len(jobs)))
    summaries = [Job(name, -1, *common) for name in experiment.subjects]
    with Progress(console) as progress:
        run_tasks(conclude, summaries, workers, Nested(progress, "results", len(summaries)))
    names = [name for name in SUBJECTS if name in manifest and results_path(folder, name).exists()]
    results = {name: SubjectResults.read(results_path(folder, name)) for name in names}
    with lone_stage(console, "writing the page"):
        return write_page(results, Made(commands_of(manifest, names), _provenance(workers)), folder)


def _begin(experiment: GainExperiment, store: Store, *, fresh: bool) -> Manifest:
    """Prepare the folder; return its manifest: for each subject, what it is made with, and by which commands."""
    folder = Path(store.storage.location.path())

    def clear(name: str, changed: set[str]) -> None:
        _clear(folder, name, everything=bool(changed))

    return begin_parts(store, experiment.identity(), experiment.command, clear if fresh else None)


def _clear(folder: Path, name: str, *, everything: bool) -> None:
    """Remove the scores and results of a subject; with `everything`, also its networks and readings."""
    results_path(folder, name).unlink(missing_ok=True)
    shutil.rmtree(scores_folder(folder) / name, ignore_errors=True)
    if everything:
        for run in range(SUBJECTS[name].runs):
            shutil.rmtree(readings_folder(folder, name, run), ignore_errors=True)
            weights_path(folder, name, run).unlink(missing_ok=True)


def _provenance(workers: int) -> tuple[str, ...]:
    """Sentences for the page: date, versions and machine."""
    machine = describe_machine()
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    at_once = f"{workers} networks at once, which increases the times" if workers > 1 else "one network at a time"
    return (
        f"Made on {datetime.now(UTC):%Y-%m-%d} with gradmeter {__version__}; {versions}.",
        f"Machine: {machine['processor']}, {counted_cores(machine)}, {machine['system']}; {at_once}, one thread each.",
    )
