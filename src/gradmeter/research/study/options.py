"""What a study is asked to do; two studies with equal options and data give equal tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gradmeter.errors import InputError

if TYPE_CHECKING:
    from gradmeter.trust.evaluation.separation import Interpolation


RUNS_COMPARED = 3
"""Networks by which a reading of the paper is judged, unless one asks for others."""

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
"""Options that take one of a few words."""


@dataclass(frozen=True)
class StudyOptions:
    """The options of a study, the readings of the paper (A1 to A20) among them.

    Attributes:
        runs: networks, each with its own split, initialisation and seeds (R16).
        seed: every random number follows from it.
        padding: of the convolutions, "valid" (Keras' default) or "same" (A13).
        weight_decay: of kernels; an L2 penalty of c on the sum of squares is a decay of 2c (A14).
        decayed: kernels that decay: "all", "convolutions" or "dense" (A14).
        first_dropout: "after" the first pooling, or "before" it (A15).
        patience: epochs without a better validation accuracy before the rate falls (A16).
        max_epochs: epochs after which a network's training ends in any case.
        weights: of the "last" or the "best" epoch by validation accuracy (A16).
        loss: "exact", or "clipped" as in Keras 2.1, where no probability is below 1e-7 (A21).
        inputs: "unit", in [0, 1], or "standard", by mean and deviation of the training pixels (A11).
        noise: how noise reaches a network: "raw", "clipped" to [0, 1], or "8-bit", also rounded (R13).
        biases: whether gradients of biases belong to a layer (A1).
        whole_gradient: whether meta classifiers also see the metrics of the whole gradient (A7).
        aupr: "step" (average precision) or "trapezoid" (A9).
        initialisations: neural meta classifiers per training set and network (R18).
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
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name}={getattr(self, name)!r}; expected {' or '.join(allowed)}")

    def to_dict(self) -> dict[str, Any]:
        """The options as plain values."""
        return asdict(self)
