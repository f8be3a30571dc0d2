"""The results of the task: every measure of every method on every network and draw, computed from the scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from gradmeter.research.cifar_resnets import DEPTHS
from gradmeter.research.ood_benchmark.quality import Quality, quality_of
from gradmeter.research.ood_benchmark.real.images import ADVERSARIAL, CIFAR100, CORRUPTED
from gradmeter.research.ood_benchmark.real.ranks import Ranks, rank
from gradmeter.research.ood_benchmark.real.reference import REFERENCE
from gradmeter.research.ood_benchmark.real.run import TASK, runs_of
from gradmeter.research.ood_benchmark.results import TaskResults
from gradmeter.research.ood_benchmark.run import OURS, WRONG
from gradmeter.research.ood_benchmark.scores import KNOWN, Scores, score_path
from gradmeter.trust.evaluation.calibration import brier_score, expected_calibration_error

CHOSEN_ON, REPORTED = (20, 32), (44, 56)
"""Depths of the networks on which settings were chosen, and of those that are only reported."""

NOT_POOLED = (CORRUPTED, ADVERSARIAL)
POOLED = "wrong or unknown"
"""The column of wrong predictions and all unknown images, without corrupted and adversarial ones."""


@dataclass(frozen=True)
class Calibration:
    """Calibration of probabilities on the known test images, means over networks and draws.

    Attributes:
        ece: expected calibration error.
        brier: Brier score.
    """

    ece: float
    brier: float


class RealResults(TaskResults):
    """The scores of some networks of the task in some draws.

    Args:
        folder: output folder of the comparison.
        runs: numbers of the runs, each a network and a draw (`runs_of`).
        qualities: qualities by run and method that are computed already.

    Attributes:
        depths: numbers of layers of the networks.
    """

    def __init__(
        self, folder: Path, runs: Sequence[int], qualities: dict[tuple[int, str], dict[str, Quality]] | None = None
    ) -> None:
        super().__init__(folder, TASK, runs)
        self.depths = tuple(depth for depth in DEPTHS if set(runs_of(depth)) & set(runs))
        self._of_runs = {} if qualities is None else qualities

    def of(self, depths: Sequence[int]) -> RealResults:
        """Return the results of those networks that are among the given ones; what is computed is shared."""
        return self._on(run for depth in depths for run in runs_of(depth))

    def controlled(self, controls: Sequence[str]) -> RealResults | None:
        """Return the results of the runs that all controls have scored; None if there are none."""
        runs = [run for run in self.runs if all(self._on([run]).has(name) for name in controls)]
        return self._on(runs) if runs and controls else None

    def _on(self, runs: Iterable[int]) -> RealResults:
        return RealResults(self._folder, [run for run in runs if run in self.runs], self._of_runs)

    @property
    def columns(self) -> list[str]:
        """The columns, of which `POOLED` only repeats images of others."""
        return [*self.separate, POOLED]

    @property
    def separate(self) -> list[str]:
        """The columns without `POOLED`."""
        return [WRONG, *self.concepts]

    def pooled(self, column: str) -> list[str]:
        """Return the unknown concepts of a column."""
        if column == POOLED:
            return [name for name in self.concepts if name not in NOT_POOLED]
        return [] if column in (WRONG, CORRUPTED) else [column]

    def quality(self, method: str, column: str) -> list[Quality]:
        """Return the quality of a method for a column on every network and in every draw.

        The column `CORRUPTED` is about the right and wrong predictions on corrupted images.
        """
        for run, scores, wrong in self._missing(method):
            self._of_runs[run, method] = {
                name: quality_of(
                    scores.values[CORRUPTED if name == CORRUPTED else KNOWN],
                    wrong.values[CORRUPTED if name == CORRUPTED else WRONG] > 0,
                    np.concatenate([np.empty(0), *(scores.values[concept] for concept in self.pooled(name))]),
                    pooled=name == POOLED,
                )
                for name in self.columns
            }
        return [self._of_runs[run, method][column] for run in self.runs]

    def _missing(self, method: str) -> Iterator[tuple[int, Scores, Scores]]:
        """Yield the runs without qualities of a method, with its scores and which predictions are wrong."""
        for run in self.runs:
            if (run, method) not in self._of_runs:
                scores, wrong = (
                    Scores.read(score_path(self._folder, TASK.name, run, name)) for name in (method, WRONG)
                )
                yield run, scores, wrong

    def calibration(self, method: str) -> Calibration:
        """Return the calibration of a method whose scores are negated probabilities."""
        pairs = [
            ((-scores.values[KNOWN]).clip(0, 1), ~wrong)
            for scores, wrong in zip(self.scores(method), self.wrong, strict=True)
        ]
        return Calibration(
            float(np.mean([expected_calibration_error(probability, right) for probability, right in pairs])),
            float(np.mean([brier_score(probability, right) for probability, right in pairs])),
        )

    def reference(self) -> float | None:
        """Return the mean AUROC of the supervised reference for `CIFAR100`; None if it was not scored."""
        if not self.has(REFERENCE):
            return None
        qualities = [
            quality_of(scores.values[KNOWN], wrong, scores.values[CIFAR100])
            for scores, wrong in zip(self.scores(REFERENCE), self.wrong, strict=True)
        ]
        return float(np.mean([quality.auroc for quality in qualities]))

    def ranks(self, measure: str = "auroc") -> Ranks:
        """Rank P(correct) and all detectors; a block is a network and a column, with the mean over the draws."""
        values: dict[str, list[float]] = {}
        for method in (OURS, *self.detectors):
            values[method] = [
                network.mean(method, column, measure).mean for network in self.networks for column in self.separate
            ]
        return rank(values, OURS)

    @cached_property
    def networks(self) -> list[RealResults]:
        """The results of each network."""
        return [self.of([depth]) for depth in self.depths]
