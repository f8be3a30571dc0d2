"""The whole study of wrong labels: networks, scores, results, then the page."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from gradmeter.errors import OutputError
from gradmeter.research.inputs import require_files, require_settings
from gradmeter.research.label_study.natural import DATA, as_they_are, score_as_it_is
from gradmeter.research.label_study.page import Made, write_page
from gradmeter.research.label_study.place import Place
from gradmeter.research.label_study.results import read_results
from gradmeter.research.label_study.run import Job, conclude, prepare, score, train_learners
from gradmeter.research.label_study.subjects import GROUPS, SUBJECTS
from gradmeter.research.manifest import begin_parts, changed_parts, commands_of, read_parts
from gradmeter.research.speed_benchmark.machine import counted_cores, describe_machine
from gradmeter.runs.engines import run_tasks
from gradmeter.runs.progress import Nested, Progress, lone_stage
from gradmeter.runs.store import Manifest, Store, StoreKind, as_json
from gradmeter.version import __version__

_KIND = StoreKind("labels.json", "a study of labels", "gradmeter label-study", {})
_VERSIONS = ("torch", "scikit-learn", "numpy", "cleanlab")
_PARTIAL = (
    "Only a part of the samples was used (`--share`). The numbers of samples below and the targets are those for all "
    "of them; fewer than 100 planted errors cannot fill the first 100."
)


@dataclass(frozen=True)
class LabelStudy:
    """A study of scores that find wrong labels.

    Attributes:
        command: the user's command.
        data: folder of the archives, as for `gradmeter reproduce --data`.
        networks: folder of the trained ResNets; None if no group needs it.
        groups: keys of `GROUPS`.
        share: share of the samples to use.
    """

    command: str
    data: Path
    networks: Path | None
    groups: tuple[str, ...] = tuple(GROUPS)
    share: float = 1.0

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            InputError: if a group is unknown, or the share is out of range.
            DataError: if a folder or a file is missing.
        """
        require_settings("group", self.groups, GROUPS, self.share, self.data)
        for group in self.groups:
            weights = [SUBJECTS[name].weights for name in subjects_of(group)]
            require_files(group, weights, self.networks, self._files(group))

    def _files(self, group: str) -> list[Path]:
        """Return the files that a group needs."""
        files: dict[Path, None] = {}
        for subject in (SUBJECTS[name] for name in subjects_of(group)):
            files |= dict.fromkeys(self.data / f"{file}.npz" for file in subject.files)
            if subject.weights is not None and self.networks is not None:
                files[self.networks / subject.weights] = None
        return list(files)

    def identity(self) -> dict[str, Any]:
        """Return for each group the entries of the manifest that must be equal to continue it."""
        files = {path for group in self.groups for path in self._files(group)}
        hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        return {
            group: {
                "gradmeter": __version__,
                "share": self.share,
                "data": {path.name: hashes[path] for path in self._files(group)},
            }
            for group in self.groups
        }


def subjects_of(group: str) -> list[str]:
    """Return the subjects of a group."""
    return [name for name, subject in SUBJECTS.items() if subject.group == group]


def run_study(study: LabelStudy, folder: Path, *, workers: int, console: Console, fresh: bool = False) -> Path:
    """Run a study, or continue it, and write the page.

    Args:
        study: what to run.
        folder: the output folder, with networks, readings, scores, results and the page.
        workers: number of processes, each with one network and one thread.
        console: where progress is shown.
        fresh: compute the scores again, from the networks and readings that exist, unless they were made with other
            settings or data.

    Returns:
        The path of label_study.md.

    Raises:
        OutputError: if the folder holds something else, or work made with other settings.
        DataError: if a file of data is damaged.
    """
    store = Store(folder, _KIND)
    with lone_stage(console, "reading the data"):
        manifest = _begin(study, store, fresh=fresh)
    place = Place(study.data, study.networks, folder, study.share)
    subjects = [name for name, subject in SUBJECTS.items() if subject.group in study.groups]
    # Subjects with the same networks train them once.
    trained = {SUBJECTS[name].trains: name for name in reversed(subjects)}.values()
    learned = [name for name in subjects if SUBJECTS[name].learned][:1]
    for task, title, names in (
        (prepare, "networks", trained),
        (train_learners, "networks with wrong labels", learned),
        (score, "labels", subjects),
    ):
        jobs = [Job(name, network, place) for name in names for network in range(len(SUBJECTS[name].seeds))]
        with Progress(console) as progress:
            run_tasks(task, jobs, workers, Nested(progress, title, len(jobs)))
    natural = [Job(name, 0, place) for name, data in DATA.items() if data.group in study.groups]
    with Progress(console) as progress:
        run_tasks(score_as_it_is, natural, workers, Nested(progress, "data sets as they are", len(natural)))
    groups = [Job(name, -1, place) for name in study.groups]
    with Progress(console) as progress:
        run_tasks(conclude, groups, workers, Nested(progress, "results", len(groups)))
    finished = [name for name in GROUPS if name in manifest and place.results(name).exists()]
    results = {name: read_results(place.results(name)) for name in finished}
    with lone_stage(console, "writing the page"):
        is_partial = any(manifest[name]["share"] < 1 for name in finished)
        provenance = (*_provenance(), _PARTIAL) if is_partial else _provenance()
        commands = commands_of(manifest, finished)
        return write_page(results, as_they_are(place, finished), Made(commands, provenance), folder)


def _begin(study: LabelStudy, store: Store, *, fresh: bool) -> Manifest:
    """Prepare the folder; return its manifest: for each group, what it is made with, and by which commands.

    Raises:
        OutputError: if a group would use networks that another group trained with other settings or data.
    """
    folder, identity = Path(store.storage.location.path()), study.identity()
    store.require_free()
    recorded = read_parts(store)
    for other in [name for name in GROUPS if name in recorded and name not in identity]:
        for group in study.groups:
            listed = changed_parts({group: recorded[other]}, {group: as_json(identity[group])})
            if listed and _trained_by(group) & _trained_by(other):
                raise OutputError(
                    f"{store.name} holds {other}, made with other settings or data ({'; '.join(listed)}), whose "
                    f"networks {group} would use; choose another folder, or start both over with --group {other} "
                    f"--group {group} --fresh"
                )

    def clear(group: str, changed: set[str]) -> None:
        _clear(folder, group, everything=bool(changed))

    return begin_parts(store, identity, study.command, clear if fresh else None)


def _trained_by(group: str) -> set[str]:
    """Return the names of the networks that a group trains, as in `Subject.trains`."""
    return {SUBJECTS[name].trains for name in subjects_of(group)}


def _clear(folder: Path, group: str, *, everything: bool) -> None:
    """Remove the scores and results of a group; with `everything`, also its networks and readings."""
    (folder / "results" / f"{group}.json").unlink(missing_ok=True)
    natural = [name for name, data in DATA.items() if data.group == group]
    for name in [*subjects_of(group), *natural]:
        shutil.rmtree(folder / "scores" / name, ignore_errors=True)
    if not everything:
        return
    patterns = [f"readings/{name}-*" for name in [*subjects_of(group), *natural]]
    patterns += [f"networks/{kind}{name}*" for name in _trained_by(group) for kind in ("", "early-")]
    patterns += ["networks/learned-*"] if any(SUBJECTS[name].learned for name in subjects_of(group)) else []
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _provenance() -> tuple[str, ...]:
    """Sentences for the page: date, versions and machine."""
    machine = describe_machine()
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    return (
        f"Made on {datetime.now(UTC):%Y-%m-%d} with gradmeter {__version__}; {versions}.",
        f"Machine: {machine['processor']}, {counted_cores(machine)}, {machine['system']}.",
    )
