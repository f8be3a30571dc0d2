"""What the scores come to: every measure of every method, for every network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradmeter.research.ood_benchmark.detectors import DETECTORS
from gradmeter.research.ood_benchmark.run import OURS, WRONG
from gradmeter.research.ood_benchmark.scores import KNOWN, Scores, score_path
from gradmeter.research.ood_benchmark.tasks import TASKS, BenchmarkTask
from gradmeter.trust.evaluation.curves import area_of_curve, risk_coverage
from gradmeter.trust.evaluation.intervals import MeanSem, PairedDifference, mean_sem, paired_difference
from gradmeter.trust.evaluation.operating_point import fpr_at_tpr
from gradmeter.trust.evaluation.separation import aupr_out_at_base_rate, separation

ALL = "all"
"""All unknown concepts together but those near to what is known."""

UNSEEN = "unseen"
"""`ALL` but the two noises: uniform noise is a kind of synthetic unknowns, and normal noise is close to another."""

_NAMES = {
    "cifar10": "CIFAR-10",
    "notmnist": "notMNIST",
    "omniglot": "Omniglot",
    ALL: "All",
    UNSEEN: "All but noise",
    WRONG: "wrong",
}
BASELINE = "MSP"
_BASE_RATE = 0.5


@dataclass(frozen=True)
class Quality:
    """How a method tells right predictions from a column.

    Attributes:
        auroc, aupr_out: fractions; positive is the column.
        fpr95: share of the column that is accepted where 95 % of the right predictions are.
        matched: AUPR-Out as if the column were half of all.
        aurc: mean share, over coverages, of what is wrong or of the column among what is accepted.
    """

    auroc: float
    aupr_out: float
    fpr95: float
    matched: float
    aurc: float


class TaskResults:
    """The scores of one task's networks.

    Args:
        folder: of the comparison.
        task: which.
        runs: numbers of the networks.
    """

    def __init__(self, folder: Path, task: BenchmarkTask, runs: Sequence[int]) -> None:
        self.task, self.runs, self._folder = task, runs, folder

    def has(self, method: str) -> bool:
        """Whether a method has judged every network."""
        return all(score_path(self._folder, self.task.name, run, method).is_file() for run in self.runs)

    def controlled(self, controls: Sequence[str]) -> TaskResults | None:
        """The networks that all of the controls have judged; None if there is none."""
        runs = [
            run for run in self.runs if all(TaskResults(self._folder, self.task, [run]).has(one) for one in controls)
        ]
        return TaskResults(self._folder, self.task, runs) if runs and controls else None

    @property
    def detectors(self) -> list[str]:
        """Those that judged every network; the softmax is one."""
        return [method for method in DETECTORS if self.has(method)]

    def scores(self, method: str) -> list[Scores]:
        """Of every network."""
        return [Scores.read(score_path(self._folder, self.task.name, run, method)) for run in self.runs]

    @cached_property
    def wrong(self) -> list[NDArray[np.bool_]]:
        """Of every network, which known test images are answered wrong."""
        return [found.values[WRONG] > 0 for found in self.scores(WRONG)]

    @cached_property
    def concepts(self) -> list[str]:
        """Unknown concepts, in order."""
        return [name for name in self.scores(OURS)[0].values if name != KNOWN]

    @property
    def far(self) -> list[str]:
        """Those that make up `ALL`."""
        return [name for name in self.concepts if name not in self.task.near]

    @property
    def columns(self) -> list[str]:
        """What right predictions are told from."""
        return [WRONG, *self.concepts, ALL, UNSEEN]

    def pooled(self, column: str) -> list[str]:
        """The unknown concepts that make up a column."""
        unseen = [name for name in self.far if name not in ("uniform", "normal")]
        return {WRONG: [], ALL: self.far, UNSEEN: unseen}.get(column, [column])

    def quality(self, method: str, column: str) -> list[Quality]:
        """Of every network."""
        found = self._qualities.setdefault((method, column), [])
        if not found:
            for scores, wrong in zip(self.scores(method), self.wrong, strict=True):
                found.append(_quality(scores.values, wrong, self.pooled(column)))
        return found

    @cached_property
    def _qualities(self) -> dict[tuple[str, str], list[Quality]]:
        return {}

    def mean(self, method: str, column: str, measure: str) -> MeanSem:
        """Over the networks."""
        return mean_sem([getattr(one, measure) for one in self.quality(method, column)])

    def gain(self, method: str, other: str, column: str, measure: str) -> PairedDifference:
        """Method minus other, over the networks."""
        first, second = ([getattr(one, measure) for one in self.quality(name, column)] for name in (method, other))
        return paired_difference(first, second)

    def fit_seconds(self, method: str) -> float:
        """That learning took, over the networks."""
        return float(np.mean([found.fit_seconds for found in self.scores(method)]))

    def milliseconds(self, method: str) -> float:
        """That an image takes, over the networks."""
        return float(np.mean([found.milliseconds for found in self.scores(method)]))

    def left_out(self, kind: str) -> MeanSem:
        """AUROC on a kind of synthetic unknowns by judges that did not learn from it."""
        values = []
        for scores, wrong in zip(self.scores(f"without {kind}"), self.wrong, strict=True):
            values.append(separation(scores.values[KNOWN][~wrong], scores.values[f"synthetic {kind}"]).auroc)
        return mean_sem(values)


def _quality(values: Mapping[str, NDArray[np.float64]], wrong: NDArray[np.bool_], concepts: Sequence[str]) -> Quality:
    """Of right predictions against unknown concepts; against the wrong predictions where there are none."""
    known = values[KNOWN]
    unknown = np.concatenate([np.empty(0), *(values[name] for name in concepts)])
    inside, outside = known[~wrong], unknown if concepts else known[wrong]
    found = separation(inside, outside)
    errors = np.concatenate([wrong, np.ones(len(unknown), np.bool_)])
    return Quality(
        found.auroc,
        found.aupr_out,
        fpr_at_tpr(inside, outside),
        aupr_out_at_base_rate(inside, outside, _BASE_RATE),
        area_of_curve(risk_coverage(np.concatenate([known, unknown]), errors)),
    )


def found_results(folder: Path) -> Iterator[TaskResults]:
    """Of every task some network of which the default judge and the softmax have judged."""
    for task in TASKS.values():
        runs = [
            run
            for run in range(task.runs)
            if all(score_path(folder, task.name, run, method).is_file() for method in (OURS, BASELINE))
        ]
        if runs:
            yield TaskResults(folder, task, runs)


def column_name(column: str) -> str:
    """As people write it."""
    return _NAMES.get(column, column)
