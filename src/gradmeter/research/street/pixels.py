"""Score every pixel of the test scenes with one network, and count the scores in histograms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradmeter.errors import DataError
from gradmeter.research.street.judges import Lessons, Panel
from gradmeter.research.street.network import StreetNet
from gradmeter.research.street.reading import PixelFeatures, SceneReader
from gradmeter.research.street.sample import ValidationSample, all_scores
from gradmeter.research.street.scenes import ALL, PART, Lesson, Street
from gradmeter.runs.arrays import read_arrays, write_arrays
from gradmeter.trust.evaluation.binned import GroupedScores, Histograms, ScoreCounts

ERRORS, ANOMALIES, LEARNED = "errors", "anomalies", "anomalies, learned"
"""Wrong pixels; pixels of unlearned classes, by judges of wrong pixels; and by judges that learn from anomalies."""
TASKS = {ALL: (ERRORS,), PART: (ANOMALIES, LEARNED)}
"""The tasks of each network."""
BLOCK = 8
"""Consecutive test scenes that are resampled together."""

Report = Callable[[float, str], None]
Scores = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class PixelScores:
    """The scores of one task and network.

    Attributes:
        test: histograms of the test pixels' scores by name, grouped by `BLOCK` scenes.
        validation: AUROC of wrong pixels in validation scenes, by name of the scores that learn nothing; those that are
            lower for wrong pixels are turned round.
        wrong: share of wrong test pixels, of the classes that the network has learned.
    """

    test: Mapping[str, Histograms]
    validation: Mapping[str, float]
    wrong: float

    def write(self, path: Path) -> None:
        """Write the scores, atomically."""
        arrays = {"names": np.array(list(self.test)), "wrong": np.array(self.wrong)}
        arrays["validation_names"] = np.array(list(self.validation))
        arrays["validation"] = np.array(list(self.validation.values()))
        for number, counts in enumerate(self.test.values()):
            arrays[f"inside{number}"], arrays[f"outside{number}"] = (
                kind.astype(np.int32) for kind in (counts.inside, counts.outside)
            )
        write_arrays(path, arrays)

    @classmethod
    def read(cls, path: Path) -> PixelScores:
        """Return the scores that `write` wrote.

        Raises:
            DataError: if the file cannot be read.
        """
        arrays = read_arrays(path)
        test = {
            str(name): Histograms(
                arrays[f"inside{number}"].astype(np.int64), arrays[f"outside{number}"].astype(np.int64)
            )
            for number, name in enumerate(arrays["names"])
        }
        names, values = arrays["validation_names"], arrays["validation"]
        validation = {str(name): float(value) for name, value in zip(names, values, strict=True)}
        return cls(test, validation, float(arrays["wrong"]))


def score_pixels(
    network: StreetNet, street: Street, lesson: Lesson, seed: int, report: Report
) -> dict[str, PixelScores]:
    """Fit the judges of each task to validation scenes, and score all test pixels.

    Args:
        network: the trained network.
        street: the scenes.
        lesson: what the network has learned.
        seed: of the pixels that judges learn from.
        report: called with the share that is done and a note.

    Raises:
        DataError: if there are no two kinds of pixels in the validation or the test scenes.
    """
    reader = SceneReader(network)
    report(0, "validation scenes")
    sample = ValidationSample.draw(reader, street, lesson, seed)
    report(0.3, "judges")
    panels = {task: Panel(_lessons(task, sample), seed) for task in TASKS[lesson.name]}
    signs, counts, errors, done = sample.signs(), _Counts(), _Share(), 0
    for images, labels in street.test.batches():
        report(0.4 + 0.6 * done / len(street.test), "test scenes")
        scenes, flat = reader(images), labels.ravel()
        groups = np.repeat((done + np.arange(len(labels))) // BLOCK, labels[0].size)
        groups[flat == street.void] = -1
        everything = {name: signs[name] * values for name, values in all_scores(scenes).items()}
        features = PixelFeatures.of(scenes)
        unlearned = np.isin(flat, lesson.unlearned)
        wrong = scenes.pixels.predictions.numpy().ravel() != flat
        errors.add(wrong[(groups >= 0) & ~unlearned])
        for task, panel in panels.items():
            # The scores that learn nothing are those of the other task, too.
            scores = panel(features) if task == LEARNED else everything | panel(features)
            counts.add(task, scores, wrong if task == ERRORS else unlearned, groups)
        done += len(labels)
    return counts.scored(sample.quality(), errors.value)


def _lessons(task: str, sample: ValidationSample) -> Lessons:
    """Return what the judges of a task learn from."""
    if task == LEARNED:
        return Lessons(sample.features, ~sample.known)
    rows = np.flatnonzero(sample.known)
    return Lessons(sample.features.rows(rows), sample.wrong[rows])


@dataclass
class _Share:
    """The share of flags that are set."""

    true: int = 0
    all: int = 0

    def add(self, flags: NDArray[np.bool_]) -> None:
        self.true, self.all = self.true + int(np.count_nonzero(flags)), self.all + len(flags)

    @property
    def value(self) -> float:
        return self.true / max(self.all, 1)


class _Counts:
    """Counts of the scores of each task."""

    def __init__(self) -> None:
        self._counted: dict[str, dict[str, GroupedScores]] = {}

    def add(self, task: str, scores: Scores, outside: NDArray[np.bool_], groups: NDArray[np.int64]) -> None:
        """Count the scores [n] of pixels; a negative group leaves a pixel out."""
        of_task = self._counted.setdefault(task, {})
        for group in np.unique(groups[groups >= 0]):
            rows = groups == group
            for name, values in scores.items():
                of_task.setdefault(name, GroupedScores()).add(int(group), ScoreCounts.of(values[rows], outside[rows]))

    def scored(self, validation: Mapping[str, float], wrong: float) -> dict[str, PixelScores]:
        """Return the scores by task.

        Raises:
            DataError: if all pixels of a task are of one kind.
        """
        scored = {}
        for task, of_task in self._counted.items():
            test = {name: counts.histograms() for name, counts in of_task.items()}
            first = next(iter(test.values()))
            if not first.inside.any() or not first.outside.any():
                raise DataError(f"the pixels of the test scenes are all of one kind for the task {task}; give others")
            scored[task] = PixelScores(test, validation, wrong)
        return scored
