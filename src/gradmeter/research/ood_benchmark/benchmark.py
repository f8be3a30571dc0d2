"""The whole comparison: every network of every task, then the page."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from gradmeter.errors import DataError, InputError, OutputError
from gradmeter.files import is_temporary, sweep, write_text
from gradmeter.research.ood_benchmark.detectors import DETECTORS, require_library
from gradmeter.research.ood_benchmark.page import Made, write_page
from gradmeter.research.ood_benchmark.results import BASELINE, found_results
from gradmeter.research.ood_benchmark.run import Job, perform
from gradmeter.research.ood_benchmark.tasks import FILES, TASKS
from gradmeter.research.speed_benchmark.machine import describe_machine
from gradmeter.runs.engines import run_tasks
from gradmeter.runs.progress import Nested, Progress, lone_stage
from gradmeter.version import __version__

_MANIFEST = "comparison.json"
_VERSIONS = ("torch", "pytorch-ood", "scikit-learn", "numpy")
_CONTROLLED = "digits"


@dataclass(frozen=True)
class DetectionBenchmark:
    """What is to be compared.

    Attributes:
        command: that the user typed.
        data: folder of the images, as `gradmeter reproduce --data` takes it.
        tasks: names of `TASKS`.
        detectors: names of `DETECTORS`.
        runs: networks of each task, at most.
        share: of the test images that are judged, the same of each concept: base rates stay.
        controls: whether the controls run, on the digits task.
    """

    command: str
    data: Path
    tasks: tuple[str, ...] = tuple(TASKS)
    detectors: tuple[str, ...] = tuple(DETECTORS)
    runs: int | None = None
    share: float = 1.0
    controls: bool = True

    def __post_init__(self) -> None:
        """Check names and numbers."""
        for what, names, known in (("task", self.tasks, TASKS), ("detector", self.detectors, DETECTORS)):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise InputError(f"no {what} {unknown[0]!r}; there are {', '.join(known)}")
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
        """What all scores of a task in one folder must share."""
        data = hashlib.sha256()
        for name in FILES:
            data.update((self.data / name).read_bytes())
        made = {"gradmeter": __version__, "share": self.share, "data": data.hexdigest()}
        return dict.fromkeys(self.tasks, made)

    def jobs(self, folder: Path) -> list[Job]:
        """One for each network."""
        return [
            Job(
                name,
                run,
                self.data,
                folder,
                self.share,
                tuple(dict.fromkeys((BASELINE, *self.detectors))),
                self.controls and name == _CONTROLLED,
            )
            for name in self.tasks
            for run in range(min(TASKS[name].runs, self.runs or TASKS[name].runs))
        ]


def compare(
    benchmark: DetectionBenchmark, folder: Path, *, workers: int, console: Console, fresh: bool = False
) -> Path:
    """Run a benchmark, or what is left of it, and write the page.

    Args:
        benchmark: what is compared.
        folder: where networks, scores and the page go.
        workers: networks at once, each in a process of one thread; times per image are best with one.
        console: where progress goes.
        fresh: judge anew with the networks that are there.

    Returns:
        Where benchmark.md lies.

    Raises:
        GradmeterError: if pytorch-ood is not installed.
        OutputError: if the folder holds something else, or scores that were made otherwise.
    """
    require_library()
    with lone_stage(console, "reading the images"):
        _begin(benchmark, folder, fresh=fresh)
    jobs = benchmark.jobs(folder)
    with Progress(console) as progress:
        run_tasks(perform, jobs, workers, Nested(progress, "networks", len(jobs)))
    begun = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    commands = tuple(dict.fromkeys(command for task in TASKS if task in begun for command in begun[task]["commands"]))
    with lone_stage(console, "writing the page"):
        return write_page(list(found_results(folder)), Made(commands, _made(workers)), folder)


def _begin(benchmark: DetectionBenchmark, folder: Path, *, fresh: bool) -> None:
    manifest, found = folder / _MANIFEST, {}
    if folder.exists() and not manifest.is_file() and not _is_empty(folder):
        raise OutputError(f"{folder} is there and holds no comparison; choose another --out")
    if manifest.is_file():
        found = json.loads(manifest.read_text(encoding="utf-8"))
        differing = [
            f"{task} with {_listed(found[task])}, not {_listed(made)}"
            for task, made in benchmark.identity.items()
            if any(found.get(task, made)[key] != value for key, value in made.items())
        ]
        if differing and not fresh:
            raise OutputError(f"{folder} was begun otherwise ({'; '.join(differing)}); choose another --out or --fresh")
    if fresh:
        for task in benchmark.tasks:
            for path in folder.glob(f"scores/{task}-*/*.parquet"):
                path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    for part in (folder, *folder.glob("scores/*"), folder / "networks"):
        if part.is_dir():
            sweep(part)
    begun = {}
    for task, made in benchmark.identity.items():
        before = [] if fresh else found.get(task, {}).get("commands", [])
        begun[task] = {**made, "commands": list(dict.fromkeys([*before, benchmark.command]))}
    write_text(manifest, json.dumps({**found, **begun}, indent=2) + "\n")


def _is_empty(path: Path) -> bool:
    return path.is_dir() and all(map(is_temporary, path.iterdir()))


def _listed(made: dict[str, Any]) -> str:
    return f"gradmeter {made['gradmeter']}, --share {made['share']:g} and images {made['data'][:8]}"


def _made(workers: int) -> tuple[str, ...]:
    machine = describe_machine()
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    return (
        f"Made on {datetime.now(UTC):%Y-%m-%d} with gradmeter {__version__}; {versions}.",
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['system']}; {workers} "
        f"network{'s at once, which the milliseconds per image suffer from' if workers > 1 else ' at a time'}, one "
        "thread each.",
    )
