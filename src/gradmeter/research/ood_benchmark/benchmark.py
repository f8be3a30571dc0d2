"""Running the whole comparison: every network of every task, then the page."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from gradmeter.errors import DataError, InputError
from gradmeter.research.ood_benchmark.detectors import DETECTORS, require_library
from gradmeter.research.ood_benchmark.page import Made, write_page
from gradmeter.research.ood_benchmark.results import BASELINE, found_results
from gradmeter.research.ood_benchmark.run import Job, perform
from gradmeter.research.ood_benchmark.tasks import FILES, TASKS
from gradmeter.research.speed_benchmark.machine import describe_machine
from gradmeter.runs.engines import run_tasks
from gradmeter.runs.progress import Nested, Progress, lone_stage
from gradmeter.runs.store import Manifest, Store, StoreKind, differences
from gradmeter.version import __version__

_KIND = StoreKind("comparison.json", "a comparison", "gradmeter compare", {})
_VERSIONS = ("torch", "pytorch-ood", "scikit-learn", "numpy")
_CONTROLLED_TASK = "digits"


@dataclass(frozen=True)
class DetectionBenchmark:
    """A comparison of detectors.

    Attributes:
        command: the user's command.
        data: folder with the images, as for `gradmeter reproduce --data`.
        tasks: keys of `TASKS`.
        detectors: keys of `DETECTORS`.
        runs: largest number of networks per task; None for the task's own number.
        share: the share of the test images of every concept to evaluate on.
        controls: also run the controls, on the digits task.
    """

    command: str
    data: Path
    tasks: tuple[str, ...] = tuple(TASKS)
    detectors: tuple[str, ...] = tuple(DETECTORS)
    runs: int | None = None
    share: float = 1.0
    controls: bool = True

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            InputError: if a task or a detector is unknown, or a number is out of range.
            DataError: if the folder of the images or an archive is missing.
        """
        for kind, names, known in (("task", self.tasks, TASKS), ("detector", self.detectors, DETECTORS)):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise InputError(f"no {kind} {unknown[0]!r}; there are {', '.join(known)}")
        if self.runs is not None and self.runs < 1:
            raise InputError(f"runs={self.runs}; expected at least 1")
        if not 0 < self.share <= 1:
            raise InputError(f"share={self.share:g}; expected more than 0 and at most 1")
        if not self.data.is_dir():
            raise DataError(f"--data {self.data}: expected the folder of .npz archives that gradmeter reproduce takes")
        missing = [name for name in FILES if not (self.data / name).is_file()]
        if missing:
            raise DataError(f"--data {self.data} has no {', '.join(missing)}; expected all of {', '.join(FILES)}")

    @cached_property
    def identity(self) -> dict[str, Any]:
        """For each task, the entries of the manifest that must be equal to continue it."""
        data_hash = hashlib.sha256()
        for name in FILES:
            data_hash.update((self.data / name).read_bytes())
        made_with = {"gradmeter": __version__, "share": self.share, "data": data_hash.hexdigest()}
        return dict.fromkeys(self.tasks, made_with)

    def jobs(self, folder: Path) -> list[Job]:
        """One job for each network."""
        return [
            Job(
                name,
                run,
                self.data,
                folder,
                self.share,
                tuple(dict.fromkeys((BASELINE, *self.detectors))),
                self.controls and name == _CONTROLLED_TASK,
            )
            for name in self.tasks
            for run in range(min(TASKS[name].runs, self.runs or TASKS[name].runs))
        ]


def compare(
    benchmark: DetectionBenchmark, folder: Path, *, workers: int, console: Console, fresh: bool = False
) -> Path:
    """Run a benchmark, or continue it, and write the page.

    Args:
        benchmark: what to compare.
        folder: the output folder, with networks, scores and the page.
        workers: number of processes, each with one network and one thread; times per image are only reliable with one.
        console: where progress is shown.
        fresh: compute the scores again, with the existing networks.

    Returns:
        The path of benchmark.md.

    Raises:
        GradmeterError: if pytorch-ood is not installed.
        OutputError: if the folder holds something else, or scores made with other settings.
    """
    require_library()
    store = Store(folder, _KIND)
    with lone_stage(console, "reading the images"):
        manifest = _begin(benchmark, store, fresh=fresh)
    jobs = benchmark.jobs(folder)
    with Progress(console) as progress:
        run_tasks(perform, jobs, workers, Nested(progress, "networks", len(jobs)))
    commands = tuple(
        dict.fromkeys(command for task in TASKS if task in manifest for command in manifest[task]["commands"])
    )
    with lone_stage(console, "writing the page"):
        return write_page(list(found_results(folder)), Made(commands, _provenance(workers)), folder)


def _begin(benchmark: DetectionBenchmark, store: Store, *, fresh: bool) -> Manifest:
    """Prepare the folder; return its manifest: for each task, what its scores are made with, and by which commands."""
    identity = benchmark.identity
    folder = Path(store.storage.location.path())
    if fresh and (recorded := store.read()):
        for task in benchmark.tasks:
            for path in folder.glob(f"scores/{task}-*/*.parquet"):
                path.unlink()
        store.write({task: entry for task, entry in recorded.items() if task not in benchmark.tasks})
    recorded = store.begin(identity, changes=_changes)
    manifest = dict(recorded)
    for task, made_with in identity.items():
        commands = [*recorded.get(task, {}).get("commands", []), benchmark.command]
        manifest[task] = {**made_with, "commands": list(dict.fromkeys(commands))}
    store.write(manifest)
    return manifest


def _changes(recorded: Manifest, identity: Manifest) -> list[str]:
    """List the differences of tasks that are in the manifest; new tasks may be added."""
    known = {task: made_with for task, made_with in identity.items() if task in recorded}
    return differences({task: {key: recorded[task].get(key) for key in known[task]} for task in known}, known)


def _provenance(workers: int) -> tuple[str, ...]:
    """Sentences for the page: date, versions and machine."""
    machine = describe_machine()
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    networks = "networks in parallel, which increases the time per image" if workers > 1 else "network at a time"
    return (
        f"Made on {datetime.now(UTC):%Y-%m-%d} with gradmeter {__version__}; {versions}.",
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['system']}; {workers} {networks}, "
        "one thread each.",
    )
