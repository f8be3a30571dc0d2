"""The paper's learning rate schedule: divide by ten when the validation accuracy stagnates, down to a floor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

INITIAL_RATE = 0.1
_FACTOR = 0.1
_FLOOR = 0.001


@dataclass
class Plateau:
    """The learning rates of several models that are trained in parallel, each with its own schedule.

    After more than `patience` epochs without a new best accuracy, a model's rate is divided by ten. A model whose rate
    would fall below the floor stops: its rate is zero from then on.

    Attributes:
        patience: number of epochs without a new best accuracy before the rate falls.
        best: [models] float64, best accuracy so far.
        waited: [models] int64, epochs since the best accuracy or the last change of the rate.
        rate: [models] float64, 0 for models that have stopped.
    """

    patience: int
    best: Tensor
    waited: Tensor
    rate: Tensor

    @classmethod
    def start(cls, models: int, patience: int) -> Plateau:
        """Return the schedules of untrained models."""
        return cls(
            patience,
            torch.full((models,), -torch.inf, dtype=torch.float64),
            torch.zeros(models, dtype=torch.int64),
            torch.full((models,), INITIAL_RATE, dtype=torch.float64),
        )

    @property
    def finished(self) -> bool:
        """Whether every model has stopped."""
        return not bool(self.rate.any())

    def step(self, accuracy: Tensor) -> None:
        """Update the rates with the accuracies [models] of an epoch."""
        better = accuracy > self.best
        self.best = torch.where(better, accuracy, self.best)
        self.waited = torch.where(better, 0, self.waited + 1)
        stagnant = self.waited > self.patience
        lower = self.rate * _FACTOR
        # Compare with half the floor, because of rounding in repeated division.
        lower = torch.where(lower < _FLOOR / 2, 0.0, lower)
        self.rate = torch.where(stagnant, lower, self.rate)
        self.waited = torch.where(stagnant, 0, self.waited)
