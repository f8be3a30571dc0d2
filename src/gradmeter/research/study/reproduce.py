"""Running the whole study: from images to tables, claims and figures in one folder."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from gradmeter.research.study import tables
from gradmeter.research.study.alternatives import perform_trial, summarise, trials
from gradmeter.research.study.claims import judge_claims
from gradmeter.research.study.data import Collection
from gradmeter.research.study.illustrations import illustrate
from gradmeter.research.study.judging import read_regressions
from gradmeter.research.study.neural import read_bank, train_bank
from gradmeter.research.study.options import StudyOptions
from gradmeter.research.study.outcome import Outcome
from gradmeter.research.study.results import AllResults, read_results
from gradmeter.research.study.run import DataSource, Run, perform, perform_networks
from gradmeter.research.study.store import StudyStore
from gradmeter.research.study.training import load_network
from gradmeter.research.threads import torch_threads
from gradmeter.runs.engines import ENGINES
from gradmeter.runs.machine import available_cores, processor_name
from gradmeter.runs.progress import Nested, Progress, Step, lone_stage
from gradmeter.version import __version__

_VERSIONS = ("torch", "numpy", "scipy", "scikit-learn", "pyarrow", "safetensors", "matplotlib")


Laps = dict[str, float]
"""Seconds per stage."""


@dataclass(frozen=True)
class Study:
    """A study to reproduce.

    Attributes:
        name: name of the data, for the report.
        command: the user's command.
        source: where the images come from.
        options: settings, including our choices where the paper leaves something open.
        folder: the output folder.
        compares_readings: compare such choices ("readings of the paper") instead of running the study.
    """

    name: str
    command: str
    source: DataSource
    options: StudyOptions
    folder: Path
    compares_readings: bool = False


def reproduce(study: Study, *, workers: int, console: Console, fresh: bool = False, engine: str = "local") -> bool:
    """Run a study, or continue it. Results do not depend on interruptions or on the number of workers.

    Args:
        study: the study.
        workers: number of processes.
        console: where progress is shown.
        fresh: start over if the folder holds a study.
        engine: a key of `gradmeter.runs.engines.ENGINES`; each run of the study is one task.

    Returns:
        False if the study was already finished, else True.

    Raises:
        DataError: if images are missing, damaged or too few.
        OutputError: if the folder holds something else or a study with other settings.
    """
    store = StudyStore(study.folder)
    store.require_free()
    with lone_stage(console, "reading the images"):
        collection = study.source.collection()
        identity = _identity(study, collection)
    with store.locked():
        recorded = store.begin(identity, fresh=fresh)
        if "finished" in recorded:
            return False
        manifest = recorded or {**identity, **_description(study, collection)}
        store.write(manifest)
        started = time.monotonic()
        run_tasks = partial(ENGINES[engine], workers=workers)
        if study.compares_readings:
            timings = _compare(study, run_tasks, console)
        else:
            with Progress(console) as progress:
                timings = _perform(study, collection, store, run_tasks, progress)
        timings["total"] = time.monotonic() - started
        store.write(
            manifest
            | {
                "workers": workers,
                "engine": engine,
                "resumed": bool(recorded),
                "timings": {stage: round(seconds, 1) for stage, seconds in timings.items()},
            }
            | {"finished": _now()}
        )
    return True


def _compare(study: Study, run_tasks: Callable[..., None], console: Console) -> Laps:
    """Compare readings of the paper; return the seconds per stage."""
    clock = _Clock()
    tasks = trials(study.options, study.source, study.folder)
    with Progress(console) as progress:
        run_tasks(perform_trial, tasks, on_event=Nested(progress, "readings", len(tasks)))
    summarise(study.options, study.folder)
    clock.lap("networks")
    return clock.laps


def _perform(
    study: Study, collection: Collection, store: StudyStore, run_tasks: Callable[..., None], progress: Progress
) -> Laps:
    """Run the stages that are not finished; return the seconds per stage."""
    options = study.options
    runs = [Run(number, study.source, options, study.folder) for number in range(options.runs)]
    clock = _Clock()
    run_tasks(perform, runs, on_event=Nested(progress, "study", len(runs)))
    clock.lap("networks, readings, regressions")
    if not store.bank.exists():
        task = progress.add_task("neural meta classifiers", total=None)
        # As the workers do, so that results do not depend on the number of cores.
        with torch_threads(1):
            train_bank(
                store.bank,
                [store.readings(run.number) for run in runs],
                options,
                lambda epoch, unfinished: progress.update(task, note=f"epoch {epoch}, {unfinished} still in training"),
            )
        progress.remove_task(task)
    clock.lap("neural meta classifiers")
    with progress.stage("evaluating the neural meta classifiers"):
        run_tasks(perform_networks, runs, on_event=_ignore)
    clock.lap("judging them")
    with progress.stage("tables and figures"):
        _summarise(study, collection, store)
    clock.lap("tables and figures")
    return clock.laps


class _Clock:
    """Measures the seconds of each stage."""

    def __init__(self) -> None:
        self.laps: Laps = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """End a stage."""
        now = time.monotonic()
        self.laps[name], self._last = now - self._last, now


def _ignore(step: Step) -> None:
    """Show nothing: evaluating a neural meta classifier takes too little time for a bar."""


def _summarise(study: Study, collection: Collection, store: StudyStore) -> None:
    numbers = range(study.options.runs)
    results = AllResults(
        [result for path in store.all_results(run) for result in read_results(path)] for run in numbers
    )
    fitted = [read_regressions(store.regressions(run)) for run in numbers]
    trainings = [load_network(store.network(run))[1] for run in numbers]
    tables.write_tables(study.folder / "tables", results, fitted, trainings)
    tables.write_rows(study.folder / "claims.csv", judge_claims(results, collection.names))
    illustrate(
        study.folder / "figures",
        collection.draw(0, study.options.seed),
        Outcome.load(store.readings(0)),
        fitted[0],
        read_bank(store.bank, 0),
        collection.names,
        whole_gradient=study.options.whole_gradient,
    )


def _identity(study: Study, collection: Collection) -> dict[str, Any]:
    """The entries of the manifest that must be equal to continue a study."""
    return {
        "gradmeter": __version__,
        "compares_readings": study.compares_readings,
        "options": study.options.to_dict(),
        "data_hashes": collection.hashes(),
    }


def _description(study: Study, collection: Collection) -> dict[str, Any]:
    """The entries of the manifest for the report, as of the start of the study."""
    sizes = collection.sizes
    return {
        "name": study.name,
        "created": _now(),
        "command": study.command,
        "names": collection.names,
        "sources": collection.sources,
        "absent": collection.absent,
        "sizes": {"train": sizes.train, "validation": sizes.validation, "test": sizes.test},
        "known_unknowns": sizes.known_unknowns,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}},
        "hardware": {
            "processor": processor_name(),
            "cores": available_cores(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "system": platform.system(),
        },
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
