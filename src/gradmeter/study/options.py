"""What a study is asked to do; two studies with equal options and data give equal tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from gradmeter.errors import InputError

if TYPE_CHECKING:
    from gradmeter.evaluation.separation import Interpolation


@dataclass(frozen=True)
class StudyOptions:
    """The options of a study, the readings of the paper (A1 to A20) among them.

    Attributes:
        runs: networks, each with its own split, initialisation and seeds (R16).
        seed: every random number follows from it.
        padding: of the convolutions, "valid" (Keras' default) or "same" (A13).
        patience: epochs without a better validation accuracy before the rate falls (A16).
        max_epochs: epochs after which a network's training ends in any case.
        biases: whether gradients of biases belong to a layer (A1).
        whole_gradient: whether meta classifiers also see the metrics of the whole gradient (A7).
        clip_normal: whether normal noise is clipped to [0, 1] (R13).
        aupr: "step" (average precision) or "trapezoid" (A9).
        initialisations: neural meta classifiers per training set and network (R18).
    """

    runs: int = 10
    seed: int = 0
    padding: str = "valid"
    patience: int = 5
    max_epochs: int = 60
    biases: bool = True
    whole_gradient: bool = False
    clip_normal: bool = False
    aupr: Interpolation = "step"
    initialisations: int = 5

    def __post_init__(self) -> None:
        for name in ("runs", "max_epochs", "initialisations"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}; expected at least 1")
        for name in ("seed", "patience"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}={getattr(self, name)}; expected 0 or more")
        for name, allowed in (("padding", ("valid", "same")), ("aupr", ("step", "trapezoid"))):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name}={getattr(self, name)!r}; expected {' or '.join(allowed)}")

    def to_dict(self) -> dict[str, Any]:
        """The options as plain values."""
        return asdict(self)

    def differences(self, recorded: dict[str, Any]) -> list[str]:
        """What differs from options recorded earlier, one "name: then -> now" each."""
        return [
            f"{field.name}: {recorded.get(field.name)!r} -> {getattr(self, field.name)!r}"
            for field in fields(self)
            if recorded.get(field.name) != getattr(self, field.name)
        ]
