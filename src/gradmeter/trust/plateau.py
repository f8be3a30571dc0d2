"""The paper's learning rate: divided by ten whenever validation accuracy stagnates, down to a floor (R15, A16)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

INITIAL_RATE = 0.1
_FACTOR = 0.1
_FLOOR = 0.001


@dataclass
class Plateau:
    """The learning rates of several models that are trained side by side, each with its own schedule.

    After more than `patience` epochs without a new best accuracy a model's rate is divided by ten; at the floor it
    stops, and its rate is zero from then on.

    Attributes:
        patience: epochs without a new best that are waited out.
        best: [models] float64, best accuracy so far.
        waited: [models] int64, epochs since then.
        rate: [models] float64, 0 for those that have stopped.
    """

    patience: int
    best: Tensor
    waited: Tensor
    rate: Tensor

    @classmethod
    def start(cls, models: int, patience: int) -> Plateau:
        """Schedules of models that have not been trained yet."""
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
        """Take note of the accuracies [models] of one epoch."""
        better = accuracy > self.best
        self.best = torch.where(better, accuracy, self.best)
        self.waited = torch.where(better, 0, self.waited + 1)
        stagnant = self.waited > self.patience
        lower = self.rate * _FACTOR
        # Half the floor as the limit: repeated division does not meet it exactly.
        lower = torch.where(lower < _FLOOR / 2, 0.0, lower)
        self.rate = torch.where(stagnant, lower, self.rate)
        self.waited = torch.where(stagnant, 0, self.waited)
