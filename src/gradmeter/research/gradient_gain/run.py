"""The work of the experiment in parts: the draws of each network, and the results of each subject."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gradmeter.research.gradient_gain.draw import Draw, Pools
from gradmeter.research.gradient_gain.reading import PRICE, read_all, read_price
from gradmeter.research.gradient_gain.results import SubjectResults
from gradmeter.research.gradient_gain.scored import read_cases, read_predictions, write_cases, write_predictions
from gradmeter.research.gradient_gain.subjects import SUBJECTS, Place, Subject
from gradmeter.runs.progress import Step

# The share of a network's time that its readings take, roughly.
_READING = 0.5


@dataclass(frozen=True)
class Job:
    """The work on one network, or with `run` -1 on the results of all networks of a subject.

    Attributes:
        subject: a name in `SUBJECTS`.
        run: number of the network.
        data: folder of the archives.
        networks: folder of trained networks, if needed.
        folder: output folder.
        share: share of the validation and test inputs to use.
    """

    subject: str
    run: int
    data: Path
    networks: Path | None
    folder: Path
    share: float


def score(job: Job, emit: Callable[[Step], None]) -> None:
    """Read the inputs of one network, fit the judges of each draw and write their scores; skip what exists.

    Raises:
        DataError: if a file of data is damaged, or there are too few inputs for a judge.
    """
    subject, part = SUBJECTS[job.subject], f"{job.subject} {job.run}"
    missing = [
        fold
        for fold in range(subject.folds)
        if not all(path(job.folder, subject, job.run, fold).exists() for path in (_cases, _predictions))
    ]
    kept = readings_folder(job.folder, job.subject, job.run)
    if missing or not (kept / PRICE).exists():
        weights = weights_path(job.folder, job.subject, job.run)
        place = Place(job.data, job.networks, weights, job.share)
        weights.parent.mkdir(parents=True, exist_ok=True)
        exam = subject.exam(place, job.run, lambda note: emit(Step(part, 0, note)))
        readings = read_all(exam, kept, lambda done, note: emit(Step(part, _READING * done, note)))
        for number, fold in enumerate(missing):
            done = _READING + (1 - _READING) * number / len(missing)
            emit(Step(part, done, f"judges of draw {fold + 1} of {subject.folds}"))
            draw, cases = Draw(Pools(exam, readings, fold)), {}
            for name, scored in draw.cases(subject.few):
                cases[name] = scored
                emit(Step(part, done, f"draw {fold + 1}, {name}"))
            write_cases(_cases(job.folder, subject, job.run, fold), cases)
            write_predictions(_predictions(job.folder, subject, job.run, fold), draw.predicted())
    emit(Step(part, 1, "done"))


def conclude(job: Job, emit: Callable[[Step], None]) -> None:
    """Compute the results of a subject from the scores of all draws, if they do not exist."""
    subject, path = SUBJECTS[job.subject], results_path(job.folder, job.subject)
    emit(Step(job.subject, 0, "resampling"))
    if not path.exists():
        draws = [(run, fold) for run in range(subject.runs) for fold in range(subject.folds)]
        SubjectResults.compute(
            [read_cases(_cases(job.folder, subject, *draw)) for draw in draws],
            [read_predictions(_predictions(job.folder, subject, *draw)) for draw in draws],
            [read_price(readings_folder(job.folder, job.subject, run)) for run in range(subject.runs)],
        ).write(path)
    emit(Step(job.subject, 1, "done"))


def results_path(folder: Path, subject: str) -> Path:
    """Return the path of a subject's results."""
    return folder / "results" / f"{subject}.json"


def scores_folder(folder: Path) -> Path:
    """Return the folder of all scores."""
    return folder / "scores"


def readings_folder(folder: Path, subject: str, run: int) -> Path:
    """Return the folder of the readings of a network."""
    return folder / "readings" / f"{subject}-{run}"


def weights_path(folder: Path, subject: str, run: int) -> Path:
    """Return the path of the weights of a network that is trained here."""
    return folder / "networks" / f"{subject}-{run}.safetensors"


def _cases(folder: Path, subject: Subject, run: int, fold: int) -> Path:
    return scores_folder(folder) / subject.name / f"cases-{run}-{fold}.parquet"


def _predictions(folder: Path, subject: Subject, run: int, fold: int) -> Path:
    return scores_folder(folder) / subject.name / f"predictions-{run}-{fold}.parquet"
