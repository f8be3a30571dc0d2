"""The meta classifiers that a study trains: their training sets and layers.

Every training set labels a sample 1 if its prediction is wrong or its concept unknown, as the paper does. The package
uses 1 = correct elsewhere; with swapped classes the solvers stop after other numbers of iterations, which the study
reports, and at coefficients that differ in the last digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradmeter.reading.readings import Readings
from gradmeter.research.study.features import Features
from gradmeter.research.study.outcome import Outcome
from gradmeter.trust.neural import MetaData

TRAINING_SETS: dict[str, tuple[str, ...]] = {
    "a": (),
    "b": ("uniform",),
    "c": ("uniform", "cifar10"),
    "d": ("uniform", "cifar10", "omniglot"),
    "normal": ("normal",),
}
"""Known unknowns that each training set adds to the validation digits; (a) to (d) are the paper's, "normal" tests its
remark on normal noise (claim C13)."""


def layer_groups(readings: Readings) -> dict[str, tuple[str, ...]]:
    """Return the layer groups of the ablation (claim C7): the last layer, the last two, and so on, short of all."""
    layers = readings.layers[:-1]
    groups = [layers[first:] for first in range(len(layers) - 1, 0, -1)]
    return {"+".join(group): group for group in groups}


@dataclass(frozen=True)
class TrainingTask:
    """A training set for a meta classifier and the layers whose statistics it uses.

    Attributes:
        training_set: a key of `TRAINING_SETS`.
        layers: names of layers; None for all layers.
    """

    training_set: str
    layers: tuple[str, ...] | None = None

    def name(self, classifier: str) -> str:
        """Return the name of the classifier in results: "nn_b", or "nn_a@dense" for some of the layers."""
        name = f"{classifier}_{self.training_set}"
        return name if self.layers is None else f"{name}@{'+'.join(self.layers)}"

    def features(self, outcome: Outcome, *, whole_gradient: bool) -> Features:
        """Select the features that carry information on the validation digits."""
        return Features.chosen(outcome.validation, self.layers, whole_gradient=whole_gradient)

    def training_data(self, outcome: Outcome, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """Return features [n, F] and labels [n] int64: 1 for a wrong prediction or an unknown input, else 0."""
        known_unknowns = [outcome.known_unknowns[role] for role in TRAINING_SETS[self.training_set]]
        matrix = np.concatenate([features.matrix(readings) for readings in (outcome.validation, *known_unknowns)])
        unknown = np.ones(len(matrix) - len(outcome.validation), bool)
        wrong_or_unknown = np.concatenate([outcome.validation_wrong, unknown])
        return matrix, wrong_or_unknown.astype(np.int64)

    def meta_data(self, outcome: Outcome, *, whole_gradient: bool) -> MetaData:
        """Return the training data with a column for every feature, and a mask of the features that the task uses.

        With equal columns, the tasks of all runs and layers fit into one batched module.
        """
        every = Features.every(outcome.validation, whole_gradient=whole_gradient)
        used = set(self.features(outcome, whole_gradient=whole_gradient).axes.features)
        mask = np.array([feature in used for feature in every.axes.features])
        return MetaData(*self.training_data(outcome, every), mask)


def tasks(outcome: Outcome) -> tuple[TrainingTask, ...]:
    """Return the tasks whose known unknowns the data holds, then the layer ablation on training set (a)."""
    present = [name for name, roles in TRAINING_SETS.items() if set(roles) <= outcome.known_unknowns.keys()]
    ablation = [TrainingTask("a", group) for group in layer_groups(outcome.validation).values()]
    return (*(TrainingTask(name) for name in present), *ablation)
