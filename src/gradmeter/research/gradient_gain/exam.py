"""What is asked of one network: its inputs, in pools that are each read once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradmeter.research.gradient_gain.samples import Samples

KNOWN, VALIDATION = "known", "validation"


@dataclass(frozen=True, eq=False)
class Exam:
    """A network and the inputs that its judges learn from and are tested on.

    With several folds, fold k of every pool (each `folds`-th input, from the k-th on) is the k-th judge's test set, and
    it learns from the other folds of the known inputs. With one fold, everything is test set, and the judge learns from
    `validation`.

    Attributes:
        network: the trained network, in eval mode.
        known: known inputs.
        validation: known inputs for the judge to learn from; None with several folds.
        folds: number of judges.
        synthetic: synthetic unknowns by kind; empty if there are none for this kind of inputs.
        unknown: inputs of no class, by concept.
        adversarial: by name the first inputs of `known`, changed by an attack.
        corrupted: inputs by corruption, with the classes of the originals.
    """

    network: nn.Module
    known: Samples
    validation: Samples | None
    folds: int
    synthetic: dict[str, Tensor]
    unknown: dict[str, Tensor]
    adversarial: dict[str, Tensor] = field(default_factory=dict)
    corrupted: dict[str, Samples] = field(default_factory=dict)

    def pools(self) -> Iterator[tuple[str, Tensor]]:
        """Iterate over all pools of inputs and their names."""
        yield KNOWN, self.known.inputs
        if self.validation is not None:
            yield VALIDATION, self.validation.inputs
        for group, pools in (
            ("synthetic", self.synthetic),
            ("unknown", self.unknown),
            ("adversarial", self.adversarial),
            ("corrupted", {name: samples.inputs for name, samples in self.corrupted.items()}),
        ):
            for name, inputs in pools.items():
                yield pool_name(group, name), inputs

    def test_rows(self, samples: int, fold: int) -> NDArray[np.intp]:
        """Return the test rows of a fold in a pool of the given size."""
        return np.arange(fold, samples, self.folds)

    def other_rows(self, samples: int, fold: int) -> NDArray[np.intp]:
        """Return the rows of the other folds in a pool of the given size; none if there is one fold."""
        rows = np.arange(samples)
        return rows[rows % self.folds != fold]

    def lesson_rows(self, fold: int) -> tuple[str, NDArray[np.intp], Tensor]:
        """Return the pool of known inputs that a judge learns from, its rows there, and their labels."""
        if self.validation is None:
            rows = self.other_rows(len(self.known), fold)
            return KNOWN, rows, self.known.labels[torch.from_numpy(rows)]
        return VALIDATION, np.arange(len(self.validation)), self.validation.labels


def pool_name(group: str, name: str) -> str:
    """Return the name of a pool."""
    return f"{group} {name}"
