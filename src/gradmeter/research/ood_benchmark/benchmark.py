"""Running the whole comparison: every network of every task, then the page."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from gradmeter.errors import DataError, InputError
from gradmeter.research.cifar_resnets import DEPTHS, weights_path
from gradmeter.research.manifest import begin_parts, commands_of
from gradmeter.research.ood_benchmark.detectors import DETECTORS, require_library
from gradmeter.research.ood_benchmark.page import Made, write_page
from gradmeter.research.ood_benchmark.real.images import FILES as REAL_FILES
from gradmeter.research.ood_benchmark.real.page import write_page as write_real_page
from gradmeter.research.ood_benchmark.real.run import TASK as REAL
from gradmeter.research.ood_benchmark.real.run import RealJob
from gradmeter.research.ood_benchmark.real.run import perform as perform_real
from gradmeter.research.ood_benchmark.results import BASELINE, found_results
from gradmeter.research.ood_benchmark.run import Job, perform
from gradmeter.research.ood_benchmark.tasks import FILES, TASKS
from gradmeter.research.speed_benchmark.machine import counted_cores, describe_machine
from gradmeter.runs.engines import run_tasks
from gradmeter.runs.progress import Nested, Progress, Step, lone_stage
from gradmeter.runs.store import Manifest, Store, StoreKind
from gradmeter.version import __version__

_KIND = StoreKind("comparison.json", "a comparison", "gradmeter compare", {})
_VERSIONS = ("torch", "pytorch-ood", "scikit-learn", "numpy")
_CONTROLLED_TASK = "digits"
_ALL_FILES = {**dict.fromkeys(TASKS, FILES), REAL.name: REAL_FILES}
ALL_TASKS = (*TASKS, REAL.name)
"""Names of all tasks; the last one is about networks that others have trained."""


@dataclass(frozen=True)
class DetectionBenchmark:
    """A comparison of detectors.

    Attributes:
        command: the user's command.
        data: folder with the images, as for `gradmeter reproduce --data`.
        tasks: names in `ALL_TASKS`.
        detectors: keys of `DETECTORS`.
        runs: largest number of networks per task; None for the task's own number.
        share: the share of the test images of every concept to evaluate on.
        controls: also run the controls, on the digits task and on networks of others.
        networks: folder of the networks of others.
    """

    command: str
    data: Path
    tasks: tuple[str, ...] = tuple(TASKS)
    detectors: tuple[str, ...] = tuple(DETECTORS)
    runs: int | None = None
    share: float = 1.0
    controls: bool = True
    networks: Path | None = None

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            InputError: if a task or a detector is unknown, a number is out of range, or networks are given without
                their task or the other way round.
            DataError: if the folder of the images or of the networks, or a file in it, is missing.
        """
        for kind, names, known in (("task", self.tasks, ALL_TASKS), ("detector", self.detectors, tuple(DETECTORS))):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise InputError(f"no {kind} {unknown[0]!r}; there are {', '.join(known)}")
        if self.runs is not None and self.runs < 1:
            raise InputError(f"runs={self.runs}; expected at least 1")
        if not 0 < self.share <= 1:
            raise InputError(f"share={self.share:g}; expected more than 0 and at most 1")
        if (self.networks is not None) != (REAL.name in self.tasks):
            raise InputError(
                f"the task {REAL.name} needs the folder of the networks; add --networks"
                if self.networks is None
                else f"--networks {self.networks} is for the task {REAL.name} only; add --task {REAL.name}"
            )
        self._require_files()

    def _require_files(self) -> None:
        if not self.data.is_dir():
            raise DataError(f"--data {self.data}: expected the folder of .npz archives that gradmeter reproduce takes")
        files = tuple(dict.fromkeys(name for task in self.tasks for name in _ALL_FILES[task]))
        if missing := [name for name in files if not (self.data / name).is_file()]:
            raise DataError(f"--data {self.data} has no {', '.join(missing)}; expected all of {', '.join(files)}")
        if missing := [path.name for path in self._weights if not path.is_file()]:
            raise DataError(f"--networks {self.networks} has no {', '.join(missing)}; copy the missing files there")

    @property
    def _weights(self) -> list[Path]:
        """Files of the networks of others."""
        return [] if self.networks is None else [weights_path(self.networks, depth) for depth in DEPTHS]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """For each task, the entries of the manifest that must be equal to continue it."""
        identity: dict[str, Any] = {}
        for task in self.tasks:
            data = _hash(self.data / name for name in _ALL_FILES[task])
            identity[task] = {"gradmeter": __version__, "share": self.share, "data": data}
        if self.networks is not None:
            identity[REAL.name]["networks"] = _hash(self._weights)
        return identity

    def jobs(self, folder: Path) -> list[Job]:
        """One job for each network that the benchmark trains."""
        return [
            Job(
                name,
                run,
                self.data,
                folder,
                self.share,
                self._with_baseline,
                self.controls and name == _CONTROLLED_TASK,
            )
            for name in self.tasks
            if name in TASKS
            for run in range(min(TASKS[name].runs, self.runs or TASKS[name].runs))
        ]

    def real_jobs(self, folder: Path) -> list[RealJob]:
        """One job for each network of others, the deepest first, which takes longest."""
        if self.networks is None:
            return []
        return [
            RealJob(depth, self.networks, self.data, folder, self.share, self._with_baseline, self.controls)
            for depth in reversed(DEPTHS[: self.runs])
        ]

    @property
    def _with_baseline(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((BASELINE, *self.detectors)))


def compare(
    benchmark: DetectionBenchmark, folder: Path, *, workers: int, console: Console, fresh: bool = False
) -> list[Path]:
    """Run a benchmark, or continue it, and write its pages.

    Args:
        benchmark: what to compare.
        folder: the output folder, with networks, scores and the page.
        workers: number of processes, each with one network and one thread; times per image are only reliable with one.
        console: where progress is shown.
        fresh: compute the scores again, with the existing networks unless they were made with other data or by another
            version.

    Returns:
        The paths of benchmark.md and real.md, or of one of them.

    Raises:
        GradmeterError: if pytorch-ood is not installed.
        OutputError: if the folder holds something else, or scores made with other settings.
    """
    require_library()
    store = Store(folder, _KIND)
    with lone_stage(console, "reading the images"):
        manifest = _begin(benchmark, store, fresh=fresh)
    work: list[_Work] = [partial(perform_real, job) for job in benchmark.real_jobs(folder)]
    work += [partial(perform, job) for job in benchmark.jobs(folder)]
    with Progress(console) as progress:
        run_tasks(_perform, work, workers, Nested(progress, "networks", len(work)))
    lines = _provenance(workers)
    with lone_stage(console, "writing the page"):
        pages = []
        if results := list(found_results(folder)):
            pages.append(write_page(results, Made(commands_of(manifest, TASKS), lines), folder))
        if real_page := write_real_page(folder, Made(commands_of(manifest, [REAL.name]), lines)):
            pages.append(real_page)
    return pages


_Work = Callable[[Callable[[Step], None]], None]


def _perform(work: _Work, emit: Callable[[Step], None]) -> None:
    work(emit)


def _hash(paths: Iterable[Path]) -> str:
    """Return a hash of the contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _begin(benchmark: DetectionBenchmark, store: Store, *, fresh: bool) -> Manifest:
    """Prepare the folder; return its manifest: for each task, what its scores are made with, and by which commands."""
    folder = Path(store.storage.location.path())

    def clear(task: str, changed: set[str]) -> None:
        patterns = [f"scores/{task}-*/*.parquet"]
        # Adversarial images are made from a share of the data for a network; networks learn from all data.
        patterns += [f"images/{task}-*.safetensors"] if changed else []
        patterns += [f"networks/{task}-*"] if changed - {"share"} else []
        for path in (path for pattern in patterns for path in folder.glob(pattern)):
            path.unlink()

    return begin_parts(store, benchmark.identity, benchmark.command, clear if fresh else None)


def _provenance(workers: int) -> tuple[str, ...]:
    """Sentences for the page: date, versions and machine."""
    machine = describe_machine()
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    networks = "networks in parallel, which increases the time per image" if workers > 1 else "network at a time"
    return (
        f"Made on {datetime.now(UTC):%Y-%m-%d} with gradmeter {__version__}; {versions}.",
        f"Machine: {machine['processor']}, {counted_cores(machine)}, {machine['system']}; {workers} {networks}, "
        "one thread each.",
    )
