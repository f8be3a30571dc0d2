"""The work of the study in parts: networks, the scores of each set of labels, and the results of each group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from gradmeter.errors import DataError
from gradmeter.research.label_study.learned import Learner
from gradmeter.research.label_study.names import set_title
from gradmeter.research.label_study.pairs import PairReader
from gradmeter.research.label_study.place import Place
from gradmeter.research.label_study.planting import KINDS, RATES, Plan, plan_errors
from gradmeter.research.label_study.pools import Pool
from gradmeter.research.label_study.results import SetResults, write_results
from gradmeter.research.label_study.scoring import scored
from gradmeter.research.label_study.sheet import Sheet
from gradmeter.research.label_study.subjects import SUBJECTS
from gradmeter.runs.progress import Step

SETS = [(kind, rate) for kind in KINDS for rate in RATES]
"""All kinds and rates of errors."""


@dataclass(frozen=True)
class Job:
    """The work on one network of a subject, or with `network` -1 on a group of subjects.

    Attributes:
        name: of the subject or the group.
        network: number of the network.
        place: the folders.
    """

    name: str
    network: int
    place: Place

    @property
    def title(self) -> str:
        """Name of the job for the display of progress."""
        return self.name if self.network < 0 else f"{self.name} {self.network}"

    def pool(self, emit: Callable[[Step], None]) -> Pool:
        """Return the network and its samples; train what is missing.

        Raises:
            DataError: if a set of labels would have no wrong ones.
        """
        pool = SUBJECTS[self.name].pool(self.place, self.network, lambda note: emit(Step(self.title, 0, note)))
        samples, least = len(pool.samples), min(rate for _, rate in SETS)
        if round(least * samples) == 0:
            raise DataError(
                f"{self.title} has {samples:,} samples, of which {100 * least:.0f} % round to none; expected "
                "at least one for a wrong label: give a larger --share"
            )
        return pool


def set_name(kind: str, rate: float) -> str:
    """Return the name of a set of labels."""
    return f"{kind}-{round(100 * rate)}"


def prepare(job: Job, emit: Callable[[Step], None]) -> None:
    """Train the networks of a subject, except those that learn corrupted labels."""
    job.pool(emit)
    emit(Step(job.title, 1, "done"))


def train_learners(job: Job, emit: Callable[[Step], None]) -> None:
    """Train the networks that learn corrupted labels."""
    learner = Learner(job.pool(emit), job.place, job.network)
    for number, (kind, rate) in enumerate(SETS):
        emit(Step(job.title, number / len(SETS), f"training, {set_title(kind, rate)}"))
        learner.train(kind, rate)
    emit(Step(job.title, 1, "done"))


def score(job: Job, emit: Callable[[Step], None]) -> None:
    """Score every set of labels of one network; skip what exists.

    Raises:
        DataError: if a file of data is damaged.
    """
    subject, paths = SUBJECTS[job.name], {}
    for seed, kind, rate in _sets(job):
        paths[seed, kind, rate] = job.place.scores(subject.name, seed, set_name(kind, rate))
    missing = {key: path for key, path in paths.items() if not path.exists()}
    if missing:
        make = _learned_sheets(job, emit) if subject.learned else _held_out_sheets(job, emit)
        for number, (key, path) in enumerate(missing.items()):
            emit(Step(job.title, number / len(missing), f"draw {key[0] + 1}, {path.stem}"))
            make(*key).write(path)
    emit(Step(job.title, 1, "done"))


def conclude(job: Job, emit: Callable[[Step], None]) -> None:
    """Compute the results of a group from its scores, if they do not exist."""
    path = job.place.results(job.name)
    if not path.exists():
        results = []
        for number, (kind, rate) in enumerate(SETS):
            emit(Step(job.title, number / len(SETS), f"resampling, {set_title(kind, rate)}"))
            results.append(SetResults.compute(kind, rate, sheets_of(job.place, job.name, set_name(kind, rate))))
        write_results(path, results)
    emit(Step(job.title, 1, "done"))


def sheets_of(place: Place, group: str, name: str) -> list[Sheet]:
    """Return the scores of a set of labels, of every subject of a group and every seed."""
    return [
        Sheet.read(place.scores(subject.name, seed, name))
        for subject in SUBJECTS.values()
        if subject.group == group
        for seeds in subject.seeds
        for seed in seeds
    ]


def _sets(job: Job) -> Iterator[tuple[int, str, float]]:
    """Iterate over seeds, kinds and rates of the sets of labels of a network."""
    return ((seed, kind, rate) for seed in SUBJECTS[job.name].seeds[job.network] for kind, rate in SETS)


def _held_out_sheets(job: Job, emit: Callable[[Step], None]) -> Callable[[int, str, float], Sheet]:
    """Return a function that makes the sheet of a seed, a kind and a rate for a network that learned other labels."""
    pool, folder = job.pool(emit), job.place.readings(job.name, job.network)
    emit(Step(job.title, 0, "reading"))
    folder.mkdir(parents=True, exist_ok=True)
    reader = PairReader([pool.network], pool.samples.inputs, folder)
    labels, softmax = pool.samples.labels.numpy(), reader.probabilities

    @cache
    def plan(seed: int, kind: str) -> Plan:
        return plan_errors(kind, labels, softmax, pool.early, seed=seed)

    def sheet(seed: int, kind: str, rate: float) -> Sheet:
        made = scored(reader.labelled(plan(seed, kind).given(rate)), pool.ids, labels, softmax.argmax(axis=1))
        reader.keep()
        return made

    return sheet


def _learned_sheets(job: Job, emit: Callable[[Step], None]) -> Callable[[int, str, float], Sheet]:
    """Return a function that makes the sheet of a seed, a kind and a rate for networks that learned the labels."""
    learner = Learner(job.pool(emit), job.place, job.network)
    regime = SUBJECTS[job.name].learned
    assert regime is not None
    return lambda seed, kind, rate: learner.sheet(kind, rate, regime)
