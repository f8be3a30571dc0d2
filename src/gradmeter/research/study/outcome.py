"""The readings of one run, and which of its predictions are wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from gradmeter.errors import DataError
from gradmeter.reading.readings import Readings
from gradmeter.research.study.measuring import read_set

POOLED = ("omniglot", "notmnist", "cifar10", "normal", "uniform")
"""The unknown concepts that the paper's row "All" pools (Table 3)."""


def with_all(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return scores by column with the column "all" added, which pools the concepts of `POOLED`."""
    return {**scores, "all": np.concatenate([scores[role] for role in POOLED if role in scores])}


Score = Callable[[Readings], np.ndarray]
"""A function that returns an uncertainty per sample, [N]; a higher value means more likely wrong or unknown."""


@dataclass(frozen=True)
class Outcome:
    """The readings of one run.

    Attributes:
        validation: readings of the validation digits.
        validation_wrong: [N] bool, whether a prediction is wrong.
        test: readings of the test digits.
        test_wrong: [N] bool, whether a prediction is wrong.
        unknowns: role to readings of test images.
        known_unknowns: role to readings of training images for meta classifiers.
    """

    validation: Readings
    validation_wrong: np.ndarray
    test: Readings
    test_wrong: np.ndarray
    unknowns: dict[str, Readings]
    known_unknowns: dict[str, Readings]

    @classmethod
    def load(cls, folder: Path) -> Outcome:
        """Read the files that `measure` wrote.

        Raises:
            DataError: a file is damaged, or the predictions for the validation or test digits are all right or all
                wrong.
        """
        digits = {}
        for name in ("validation", "test"):
            readings, labels = read_set(folder / f"{name}.parquet")
            if labels is None:
                path = folder / f"{name}.parquet"
                raise DataError(f"{path} has no labels; delete it and run the same command again")
            wrong = readings.predictions.numpy() != labels
            if wrong.all() or not wrong.any():
                raise DataError(
                    f"the network of {folder} classifies {'none' if wrong.all() else 'all'} of {len(wrong):,} {name} "
                    "digits correctly; expected right and wrong predictions: use more digits or another seed"
                )
            digits[name] = readings, wrong
        unknowns = {
            path.stem: read_set(path)[0] for path in sorted(folder.glob("*.parquet")) if path.stem not in digits
        }
        return cls(
            *digits["validation"],
            *digits["test"],
            {name: readings for name, readings in unknowns.items() if not name.startswith("known-")},
            {name.removeprefix("known-"): r for name, r in unknowns.items() if name.startswith("known-")},
        )

    @cached_property
    def pooled(self) -> tuple[str, ...]:
        """The concepts of `POOLED` that the run has."""
        return tuple(role for role in POOLED if role in self.unknowns)

    @property
    def columns(self) -> tuple[str, ...]:
        """The groups that correct test digits are compared with: "wrong", every unknown concept, and "all"."""
        return ("wrong", *self.unknowns, "all")

    def scored(self, score: Score) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the scores of the correct test digits, and the scores of each column."""
        digits = score(self.test)
        outside = {"wrong": digits[self.test_wrong]}
        outside |= {role: score(readings) for role, readings in self.unknowns.items()}
        return digits[~self.test_wrong], with_all(outside)

    def counts(self) -> Mapping[str, tuple[int, float]]:
        """Return for each column the number of images compared and the share that is wrong or unknown."""
        correct = int((~self.test_wrong).sum())
        sizes = {"wrong": int(self.test_wrong.sum()), **{role: len(r) for role, r in self.unknowns.items()}}
        sizes["all"] = sum(sizes[role] for role in self.pooled)
        return {column: (correct + size, size / (correct + size)) for column, size in sizes.items()}
