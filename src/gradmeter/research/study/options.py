"""The options of a study; equal options and data give equal tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gradmeter.errors import InputError

if TYPE_CHECKING:
    from gradmeter.trust.evaluation.separation import Interpolation


RUNS_COMPARED = 3
"""Default number of networks per alternative when readings of the paper are compared."""

CHOICES: dict[str, tuple[str, ...]] = {
    "padding": ("valid", "same"),
    "decayed": ("all", "convolutions", "dense"),
    "first_dropout": ("after", "before"),
    "weights": ("last", "best"),
    "loss": ("exact", "clipped"),
    "inputs": ("unit", "standard"),
    "noise": ("raw", "clipped", "8-bit"),
    "aupr": ("step", "trapezoid"),
}
"""Allowed values of the options that name a variant."""


@dataclass(frozen=True)
class StudyOptions:
    """The options of a study, including the choices that the paper leaves open (docs/study.md lists them).

    Attributes:
        runs: number of runs; each has its own split, network and seeds.
        seed: seed of all random numbers.
        padding: padding of the convolutions, "valid" (Keras' default) or "same".
        weight_decay: weight decay of kernels; an L2 penalty of c on the sum of squares is a decay of 2c.
        decayed: the kernels that decay: "all", "convolutions" or "dense".
        first_dropout: dropout "after" or "before" the first pooling.
        patience: epochs without a better validation accuracy before the learning rate falls.
        max_epochs: maximum number of epochs per network.
        weights: weights of the "last" epoch, or of the "best" epoch by validation accuracy.
        loss: "exact", or "clipped" as in Keras 2.1, where no probability is below 1e-7.
        inputs: pixels in [0, 1] ("unit"), or standardised by mean and deviation of the training pixels ("standard").
        noise: noise images as drawn ("raw"), "clipped" to [0, 1], or clipped and rounded ("8-bit").
        biases: whether a layer's gradient includes its bias.
        whole_gradient: whether meta classifiers also see the statistics of the whole gradient.
        aupr: interpolation of precision-recall curves, "step" (average precision) or "trapezoid".
        initialisations: neural meta classifiers per training set and run.
    """

    runs: int = 10
    seed: int = 0
    padding: str = "valid"
    weight_decay: float = 1e-3
    decayed: str = "all"
    first_dropout: str = "after"
    patience: int = 5
    max_epochs: int = 60
    weights: str = "last"
    loss: str = "exact"
    inputs: str = "standard"
    noise: str = "clipped"
    biases: bool = True
    whole_gradient: bool = False
    aupr: Interpolation = "step"
    initialisations: int = 5

    def __post_init__(self) -> None:
        for name in ("runs", "max_epochs", "initialisations"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}; expected at least 1")
        for name in ("seed", "patience"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}={getattr(self, name)}; expected 0 or more")
        if not 0 <= self.weight_decay < 1:
            raise InputError(f"weight_decay={self.weight_decay}; expected a number from 0 to less than 1")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name}={getattr(self, name)!r}; expected {' or '.join(choices)}")

    def to_dict(self) -> dict[str, Any]:
        """Return the options as a dictionary."""
        return asdict(self)
