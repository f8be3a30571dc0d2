"""The results of the benchmark: every measure of every method on every network, computed from the scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradmeter.research.ood_benchmark.detectors import DETECTORS
from gradmeter.research.ood_benchmark.quality import Quality, quality_of
from gradmeter.research.ood_benchmark.run import OURS, WRONG
from gradmeter.research.ood_benchmark.scores import KNOWN, Scores, score_path
from gradmeter.research.ood_benchmark.tasks import TASKS, TaskTitle
from gradmeter.trust.evaluation.intervals import MeanSem, PairedDifference, mean_sem, paired_difference
from gradmeter.trust.evaluation.separation import separation

ALL = "all"
"""The column of all unknown concepts except those near to the known ones."""

UNSEEN = "unseen"
"""The column `ALL` without noise: uniform noise is a kind of synthetic unknowns, normal noise is similar to another."""

_NAMES = {
    "cifar10": "CIFAR-10",
    "notmnist": "notMNIST",
    "omniglot": "Omniglot",
    ALL: "All",
    UNSEEN: "All but noise",
    WRONG: "wrong",
}
BASELINE = "MSP"


class TaskResults:
    """The scores of the networks of one task.

    Args:
        folder: output folder of the comparison.
        task: the task.
        runs: numbers of the networks.
    """

    def __init__(self, folder: Path, task: TaskTitle, runs: Sequence[int]) -> None:
        self.task, self.runs, self._folder = task, runs, folder

    def has(self, method: str) -> bool:
        """Return whether there are scores of a method on every network."""
        return all(score_path(self._folder, self.task.name, run, method).is_file() for run in self.runs)

    def controlled(self, controls: Sequence[str]) -> TaskResults | None:
        """Return the results of the networks that all controls have scored; None if there are none."""
        runs = [
            run for run in self.runs if all(TaskResults(self._folder, self.task, [run]).has(name) for name in controls)
        ]
        return TaskResults(self._folder, self.task, runs) if runs and controls else None

    @property
    def detectors(self) -> list[str]:
        """Detectors with scores on every network, including the softmax."""
        return [method for method in DETECTORS if self.has(method)]

    def scores(self, method: str) -> list[Scores]:
        """Return a method's scores on every network."""
        return [Scores.read(score_path(self._folder, self.task.name, run, method)) for run in self.runs]

    @cached_property
    def wrong(self) -> list[NDArray[np.bool_]]:
        """Which known test images are predicted wrong, for every network."""
        return [scores.values[WRONG] > 0 for scores in self.scores(WRONG)]

    @cached_property
    def concepts(self) -> list[str]:
        """Unknown concepts, in order."""
        return [name for name in self.scores(OURS)[0].values if name != KNOWN]

    @property
    def far(self) -> list[str]:
        """Unknown concepts in `ALL`."""
        return [name for name in self.concepts if name not in self.task.near]

    @property
    def columns(self) -> list[str]:
        """The columns that right predictions are compared with."""
        return [WRONG, *self.concepts, ALL, UNSEEN]

    def pooled(self, column: str) -> list[str]:
        """Return the unknown concepts of a column."""
        unseen = [name for name in self.far if name not in ("uniform", "normal")]
        return {WRONG: [], ALL: self.far, UNSEEN: unseen}.get(column, [column])

    def quality(self, method: str, column: str) -> list[Quality]:
        """Return the quality of a method for a column on every network."""
        qualities = self._qualities.setdefault((method, column), [])
        if not qualities:
            for scores, wrong in zip(self.scores(method), self.wrong, strict=True):
                unknown = [np.empty(0), *(scores.values[name] for name in self.pooled(column))]
                qualities.append(quality_of(scores.values[KNOWN], wrong, np.concatenate(unknown)))
        return qualities

    @cached_property
    def _qualities(self) -> dict[tuple[str, str], list[Quality]]:
        return {}

    def mean(self, method: str, column: str, measure: str) -> MeanSem:
        """Return mean and standard error of a measure over the networks."""
        return mean_sem([getattr(quality, measure) for quality in self.quality(method, column)])

    def gain(self, method: str, other: str, column: str, measure: str) -> PairedDifference:
        """Return the mean difference, method minus other, over the networks."""
        values, others = (
            [getattr(quality, measure) for quality in self.quality(name, column)] for name in (method, other)
        )
        return paired_difference(values, others)

    def fit_seconds(self, method: str) -> float:
        """Return the mean time to fit a method."""
        return float(np.mean([scores.fit_seconds for scores in self.scores(method)]))

    def milliseconds(self, method: str) -> float:
        """Return the mean time to score an image."""
        return float(np.mean([scores.milliseconds for scores in self.scores(method)]))

    def left_out(self, kind: str) -> MeanSem:
        """Return the AUROC of a kind of synthetic unknowns for judges that did not learn from it."""
        values = []
        for scores, wrong in zip(self.scores(f"without {kind}"), self.wrong, strict=True):
            values.append(separation(scores.values[KNOWN][~wrong], scores.values[f"synthetic {kind}"]).auroc)
        return mean_sem(values)


def found_results(folder: Path) -> Iterator[TaskResults]:
    """Yield the results of every task that has networks with scores of the default judge and of the softmax."""
    for task in TASKS.values():
        runs = [
            run
            for run in range(task.runs)
            if all(score_path(folder, task.name, run, method).is_file() for method in (OURS, BASELINE))
        ]
        if runs:
            yield TaskResults(folder, task, runs)


def column_name(column: str) -> str:
    """Return the name of a column on the page."""
    return _NAMES.get(column, column)
