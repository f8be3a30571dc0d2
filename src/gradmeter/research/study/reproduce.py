"""The study, end to end: from images to tables, claims and figures in one folder."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from gradmeter.errors import OutputError
from gradmeter.files import sweep
from gradmeter.locks import locked
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
from gradmeter.research.study.store import Store
from gradmeter.research.study.training import load_network
from gradmeter.runs.engines import ENGINES
from gradmeter.runs.progress import Nested, Progress, Step, lone_stage
from gradmeter.version import __version__

_VERSIONS = ("torch", "numpy", "scipy", "scikit-learn", "pyarrow", "safetensors", "matplotlib")


Laps = dict[str, float]
"""Seconds that each stage took."""


@dataclass(frozen=True)
class Study:
    """What is to be reproduced, from which images, and where the results go.

    Attributes:
        name: of the data, for people.
        command: as it was typed.
        source: of the images.
        options: the readings of the paper among them.
        folder: of all output.
        compares_readings: whether readings of the paper are compared, in place of the study.
    """

    name: str
    command: str
    source: DataSource
    options: StudyOptions
    folder: Path
    compares_readings: bool = False


def reproduce(study: Study, *, workers: int, console: Console, fresh: bool = False, engine: str = "local") -> bool:
    """Run a study, or what is left of it; results do not depend on interruptions or on the number of workers.

    Args:
        study: what to do.
        workers: processes at once.
        console: where progress goes.
        fresh: start anew where the folder holds a study already.
        engine: a name of `gradmeter.runs.engines.ENGINES`: where runs are worked on, one as a task each.

    Returns:
        Whether there was anything to do: False for a study that was finished before.

    Raises:
        DataError: if images are missing, damaged or too few.
        OutputError: if the folder belongs to something else or to a study with other options.
    """
    store = Store(study.folder)
    store.require_own()
    with lone_stage(console, "reading the images"):
        collection = study.source.collection()
        described = _described(study, collection)
    with locked(study.folder):
        sweep(study.folder)
        recorded = store.read_manifest()
        if recorded is not None and fresh:
            # Unfinished from here on, so that it is not taken for a whole study if it is killed while it clears.
            store.write_manifest({key: value for key, value in recorded.items() if key != "finished"})
            store.clear()
            recorded = None
        if recorded is not None:
            _require_same(recorded, described, study.folder)
            if "finished" in recorded:
                return False
        manifest = recorded or described
        store.write_manifest(manifest)
        started = time.monotonic()
        run_tasks = partial(ENGINES[engine], workers=workers)
        if study.compares_readings:
            timings = _compare(study, run_tasks, console)
        else:
            with Progress(console) as progress:
                timings = _perform(study, collection, store, run_tasks, progress)
        timings["total"] = time.monotonic() - started
        store.write_manifest(
            manifest
            | {
                "workers": workers,
                "engine": engine,
                "resumed": recorded is not None,
                "timings": {stage: round(seconds, 1) for stage, seconds in timings.items()},
            }
            | {"finished": _now()}
        )
    return True


def _compare(study: Study, run_tasks: Callable[..., None], console: Console) -> Laps:
    """Compare readings of the paper, as far as that is not done; the seconds that it took in this session."""
    clock = _Clock()
    work = trials(study.options, study.source, study.folder)
    with Progress(console) as progress:
        run_tasks(perform_trial, work, on_event=Nested(progress, "readings", len(work)))
    summarise(study.options, study.folder)
    clock.lap("networks")
    return clock.laps


def _perform(
    study: Study, collection: Collection, store: Store, run_tasks: Callable[..., None], progress: Progress
) -> Laps:
    """Do what is left to do; the seconds that each stage took in this session."""
    options = study.options
    runs = [Run(number, study.source, options, study.folder) for number in range(options.runs)]
    clock = _Clock()
    run_tasks(perform, runs, on_event=Nested(progress, "study", len(runs)))
    clock.lap("networks, readings, regressions")
    if not store.bank.exists():
        task = progress.add_task("neural meta classifiers", total=None)
        with _one_thread():
            train_bank(
                store.bank,
                [store.readings(run.number) for run in runs],
                options,
                lambda epoch, left: progress.update(task, note=f"epoch {epoch}, {left} still learn"),
            )
        progress.remove_task(task)
    clock.lap("neural meta classifiers")
    with progress.stage("judging the neural meta classifiers"):
        run_tasks(perform_networks, runs, on_event=_ignore)
    clock.lap("judging them")
    with progress.stage("tables and figures"):
        _summarise(study, collection, store)
    clock.lap("tables and figures")
    return clock.laps


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in the workers: the same results on any number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Clock:
    """Seconds from one lap to the next."""

    def __init__(self) -> None:
        self.laps: Laps = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self._last = now - self._last, now


def _ignore(step: Step) -> None:
    """The judging of neural networks is too short for a bar of its own."""


def _summarise(study: Study, collection: Collection, store: Store) -> None:
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


def _described(study: Study, collection: Collection) -> dict[str, Any]:
    sizes = collection.sizes
    return {
        "gradmeter": __version__,
        "name": study.name,
        "created": _now(),
        "command": study.command,
        "compares_readings": study.compares_readings,
        "options": study.options.to_dict(),
        "names": collection.names,
        "sources": collection.sources,
        "absent": collection.absent,
        "data_hashes": collection.hashes(),
        "sizes": {"train": sizes.train, "validation": sizes.validation, "test": sizes.test},
        "known_unknowns": sizes.known_unknowns,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}},
        "hardware": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "system": platform.system(),
        },
    }


def _require_same(recorded: Mapping[str, Any], described: Mapping[str, Any], folder: Path) -> None:
    options: StudyOptions = StudyOptions(**described["options"])
    found = options.differences(recorded.get("options", {}))
    found += [
        f"{name}: the images are others"
        for name in described["data_hashes"].keys() | recorded.get("data_hashes", {}).keys()
        if described["data_hashes"].get(name) != recorded.get("data_hashes", {}).get(name)
    ]
    if described["compares_readings"] != recorded.get("compares_readings", False):
        found.append("one is the study, the other compares readings")
    if described["gradmeter"] != recorded.get("gradmeter"):
        found.append(f"gradmeter: {recorded.get('gradmeter')} -> {described['gradmeter']}")
    if found:
        raise OutputError(
            f"{folder} holds a study made otherwise ({'; '.join(sorted(found))}); "
            "choose another --out, or --fresh to start it anew"
        )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _processor() -> str:
    """The processor's name where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
