"""Which meta classifiers a study trains, on which training sets and layers (R17 to R19, C7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradmeter.reading.readings import Readings
from gradmeter.research.study.features import Features
from gradmeter.research.study.names import PAPER_METRICS
from gradmeter.research.study.outcome import Outcome
from gradmeter.trust.neural import MetaData

TRAINING_SETS: dict[str, tuple[str, ...]] = {
    "a": (),
    "b": ("uniform",),
    "c": ("uniform", "cifar10"),
    "d": ("uniform", "cifar10", "omniglot"),
    "normal": ("normal",),
}
"""The validation digits and these known unknowns; (a) to (d) are the paper's, "normal" tests its remark (C13)."""


def layer_groups(readings: Readings) -> dict[str, tuple[str, ...]]:
    """The layer ablation of C7: the last layer, then one earlier layer more each time, short of all of them."""
    layers = readings.layers[:-1]
    groups = [layers[first:] for first in range(len(layers) - 1, 0, -1)]
    return {"+".join(group): group for group in groups}


@dataclass(frozen=True)
class TrainingTask:
    """One training set for a meta classifier and the layers it may look at.

    Attributes:
        training_set: a key of `TRAINING_SETS`.
        layers: names of layers, None for all.
    """

    training_set: str
    layers: tuple[str, ...] | None = None

    def name(self, classifier: str) -> str:
        """The name of the classifier in results: "nn_b", or "nn_a@dense" with layers left out."""
        name = f"{classifier}_{self.training_set}"
        return name if self.layers is None else f"{name}@{'+'.join(self.layers)}"

    def features(self, outcome: Outcome, *, whole_gradient: bool) -> Features:
        """The features that hold information in the validation digits."""
        return Features.chosen(outcome.validation, self.layers, whole_gradient=whole_gradient)

    def training_data(self, outcome: Outcome, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """Features [n, F] and targets [n], 1 for wrong or unknown."""
        known = [outcome.known_unknowns[role] for role in TRAINING_SETS[self.training_set]]
        matrix = np.concatenate([features.matrix(readings) for readings in (outcome.validation, *known)])
        targets = np.concatenate([outcome.validation_wrong, np.ones(len(matrix) - len(outcome.validation), bool)])
        return matrix, targets.astype(np.int64)

    def meta_data(self, outcome: Outcome, *, whole_gradient: bool) -> MetaData:
        """The same with a column for every feature, so that tasks of all runs and layers fit one batched module."""
        every = all_features(outcome.validation, whole_gradient=whole_gradient)
        used = set(self.features(outcome, whole_gradient=whole_gradient).names)
        return MetaData(*self.training_data(outcome, every), np.array([name in used for name in every.names]))


def all_features(readings: Readings, *, whole_gradient: bool) -> Features:
    """Entropy and every metric of every layer, informative or not."""
    layers = readings.layers if whole_gradient else readings.layers[:-1]
    return Features(("entropy", *(f"{layer}/{metric}" for layer in layers for metric in PAPER_METRICS)))


def tasks(outcome: Outcome) -> tuple[TrainingTask, ...]:
    """All tasks whose known unknowns are present, and the layer ablation on (a)."""
    present = [name for name, roles in TRAINING_SETS.items() if set(roles) <= outcome.known_unknowns.keys()]
    ablation = [TrainingTask("a", group) for group in layer_groups(outcome.validation).values()]
    return (*(TrainingTask(name) for name in present), *ablation)
