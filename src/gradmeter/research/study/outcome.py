"""What one run left behind to be judged: readings of all sets, and which predictions are wrong."""

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
"""The unknown concepts that make up the paper's row "All" (Table 3)."""


def with_all(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores by column, and those of the column "all", which pools what there is of `POOLED`."""
    return {**scores, "all": np.concatenate([scores[role] for role in POOLED if role in scores])}


Score = Callable[[Readings], np.ndarray]
"""An uncertainty per sample, [N]: higher means more likely wrong or unknown."""


@dataclass(frozen=True)
class Outcome:
    """The readings of one run.

    Attributes:
        validation: with `validation_wrong` [N] bool.
        test: with `test_wrong` [N] bool.
        unknowns: role to test readings.
        known_unknowns: role to training readings for meta classifiers.
    """

    validation: Readings
    validation_wrong: np.ndarray
    test: Readings
    test_wrong: np.ndarray
    unknowns: dict[str, Readings]
    known_unknowns: dict[str, Readings]

    @classmethod
    def load(cls, folder: Path) -> Outcome:
        """Read what `measure` wrote.

        Raises:
            DataError: if a file is damaged, or if the network makes no mistake, or only mistakes, on its validation
                or test digits: then there is nothing to learn or to compare.
        """
        digits = {}
        for name in ("validation", "test"):
            readings, labels = read_set(folder / f"{name}.parquet")
            if labels is None:
                raise DataError(f"{folder / name}.parquet has no labels; remove it and run the same command again")
            wrong = readings.predictions.numpy() != labels
            if wrong.all() or not wrong.any():
                raise DataError(
                    f"the network of {folder} classifies {'none' if wrong.all() else 'all'} of {len(wrong):,} {name} "
                    "digits right; expected some right and some wrong: use more digits or another seed"
                )
            digits[name] = readings, wrong
        others = {path.stem: read_set(path)[0] for path in sorted(folder.glob("*.parquet")) if path.stem not in digits}
        return cls(
            *digits["validation"],
            *digits["test"],
            {name: readings for name, readings in others.items() if not name.startswith("known-")},
            {name.removeprefix("known-"): r for name, r in others.items() if name.startswith("known-")},
        )

    @cached_property
    def pooled(self) -> tuple[str, ...]:
        """The concepts that "all" pools here."""
        return tuple(role for role in POOLED if role in self.unknowns)

    @property
    def columns(self) -> tuple[str, ...]:
        """What correct test digits are compared with: "wrong", every unknown concept, and "all"."""
        return ("wrong", *self.unknowns, "all")

    def scored(self, score: Score) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The scores of correct test digits, and of each column."""
        digits = score(self.test)
        outside = {"wrong": digits[self.test_wrong]}
        outside |= {role: score(readings) for role, readings in self.unknowns.items()}
        return digits[~self.test_wrong], with_all(outside)

    def counts(self) -> Mapping[str, tuple[int, float]]:
        """Images compared in each column, and the share of them that is wrong or unknown."""
        correct = int((~self.test_wrong).sum())
        sizes = {"wrong": int(self.test_wrong.sum()), **{role: len(r) for role, r in self.unknowns.items()}}
        sizes["all"] = sum(sizes[role] for role in self.pooled)
        return {column: (correct + size, size / (correct + size)) for column, size in sizes.items()}
