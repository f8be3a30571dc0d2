"""The work of the study in parts: one network of one lesson, then the results of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gradmeter.research.street.network import StreetNet
from gradmeter.research.street.pixels import TASKS, PixelScores, Report, score_pixels
from gradmeter.research.street.quality import Quality
from gradmeter.research.street.results import pixel_results, segment_results, write_results
from gradmeter.research.street.scenes import Lesson, Street, lessons, load_street
from gradmeter.research.street.segments import SegmentScores, score_segments
from gradmeter.research.street.training import EPOCHS, checkpoint_of, trained
from gradmeter.runs.progress import Step

# The shares of a network's time that its parts take, roughly.
_TRAINED, _SCORED = 0.4, 0.8


@dataclass(frozen=True)
class Job:
    """The work on one network.

    Attributes:
        lesson: name of what it learns.
        seed: of the network.
        data: folder of the archive.
        folder: output folder.
    """

    lesson: str
    seed: int
    data: Path
    folder: Path

    @property
    def name(self) -> str:
        """The network's name, in files and for readers."""
        return f"{self.lesson}-{self.seed}"

    @property
    def weights(self) -> Path:
        """The network's weights."""
        return self.folder / "networks" / f"{self.name}.safetensors"

    @property
    def quality(self) -> Path:
        """How well the network segments."""
        return self.folder / "networks" / f"{self.name}.json"

    def pixels(self, task: str) -> Path:
        """Return the path of the scores of the pixels for a task."""
        return self.folder / "pixels" / f"{task.replace(', ', '-')}-{self.seed}.npz"

    @property
    def segments(self) -> Path:
        """The scores of the segments."""
        return self.folder / "segments" / f"{self.name}.npz"

    def files(self) -> list[Path]:
        """Return the paths of all files that the work on the network writes."""
        scores = [self.pixels(task) for task in TASKS[self.lesson]]
        return [checkpoint_of(self.weights), self.weights, self.quality, *scores, self.segments]


def perform(job: Job, emit: Callable[[Step], None]) -> None:
    """Train one network, and score the pixels and the segments of the test scenes; skip what exists.

    Raises:
        DataError: if the archive is damaged, or there are too few wrong pixels, or segments that hit or miss.
    """

    def report(start: float, end: float) -> Report:
        return lambda done, note: emit(Step(job.name, start + (end - start) * done, note))

    street = load_street(job.data)
    lesson = lessons(street)[job.lesson]
    network = _network(job, street, lesson, report(0, _TRAINED))
    paths = {task: job.pixels(task) for task in TASKS[job.lesson]}
    if not all(path.exists() for path in paths.values()):
        scored = score_pixels(network, street, lesson, job.seed, report(_TRAINED, _SCORED))
        for task, path in paths.items():
            scored[task].write(path)
    if not job.segments.exists():
        score_segments(network, street, lesson, job.seed, report(_SCORED, 1)).write(job.segments)
    emit(Step(job.name, 1, "done"))


def _network(job: Job, street: Street, lesson: Lesson, report: Report) -> StreetNet:
    job.weights.parent.mkdir(parents=True, exist_ok=True)
    network = trained(
        street,
        lesson,
        job.seed,
        job.weights,
        on_epoch=lambda epoch: report(epoch / EPOCHS, f"epoch {epoch} of {EPOCHS}"),
    )
    if not job.quality.exists():
        Quality.of(network, street, lesson).write(job.quality)
    return network


def results_path(folder: Path) -> Path:
    """Return the path of the results."""
    return folder / "results.json"


def conclude(jobs: list[Job], emit: Callable[[Step], None]) -> None:
    """Compute the results of all networks.

    Raises:
        DataError: if a file of scores cannot be read.
    """
    results, tasks = {}, [(lesson, task) for lesson, of_lesson in TASKS.items() for task in (*of_lesson, "segments")]
    for number, (lesson, task) in enumerate(tasks):
        emit(Step("results", number / len(tasks), f"resampling {task}"))
        of_lesson = [job for job in jobs if job.lesson == lesson]
        if task == "segments":
            name = f"segments, {lesson}"
            results[name] = segment_results([SegmentScores.read(job.segments) for job in of_lesson])
        else:
            results[task] = pixel_results([PixelScores.read(job.pixels(task)) for job in of_lesson])
    write_results(results_path(jobs[0].folder), results)
    emit(Step("results", 1, "done"))
