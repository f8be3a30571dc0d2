"""What is asked of one network: its inputs, in pools that are each read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from gradmeter.research.gradient_gain.samples import Samples

KNOWN, VALIDATION = "known", "validation"
SYNTHETIC, UNKNOWN, ADVERSARIAL, CORRUPTED = "synthetic", "unknown", "adversarial", "corrupted"


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
        adversarial: by name a function that returns the first inputs of `known`, changed by an attack, which is slow.
        corrupted: inputs by corruption, with the classes of the originals.
    """

    network: nn.Module
    known: Samples
    validation: Samples | None
    folds: int
    synthetic: dict[str, Tensor]
    unknown: dict[str, Tensor]
    adversarial: Mapping[str, Callable[[], Tensor]] = field(default_factory=dict)
    corrupted: dict[str, Samples] = field(default_factory=dict)

    def pools(self) -> Iterator[tuple[str, Callable[[], Tensor]]]:
        """Iterate over the names of all pools, with functions that return their inputs."""
        for name, inputs in self._inputs():
            yield name, partial(_same, inputs)
        for name, attacked in self.adversarial.items():
            yield pool_name(ADVERSARIAL, name), attacked

    def _inputs(self) -> Iterator[tuple[str, Tensor]]:
        yield KNOWN, self.known.inputs
        if self.validation is not None:
            yield VALIDATION, self.validation.inputs
        corrupted = {name: samples.inputs for name, samples in self.corrupted.items()}
        for group, pools in ((SYNTHETIC, self.synthetic), (UNKNOWN, self.unknown), (CORRUPTED, corrupted)):
            for name, inputs in pools.items():
                yield pool_name(group, name), inputs

    def test_rows(self, samples: int, fold: int) -> NDArray[np.intp]:
        """Return the test rows of a fold in a pool of the given size."""
        return np.arange(fold, samples, self.folds)

    def other_rows(self, samples: int, fold: int) -> NDArray[np.intp]:
        """Return the rows of the other folds in a pool of the given size; none if there is one fold."""
        return np.setdiff1d(np.arange(samples), self.test_rows(samples, fold))

    def lesson_rows(self, fold: int) -> tuple[str, NDArray[np.intp]]:
        """Return the pool of known inputs that a judge learns from, and its rows there."""
        if self.validation is None:
            return KNOWN, self.other_rows(len(self.known), fold)
        return VALIDATION, np.arange(len(self.validation))

    def labels(self, pool: str) -> Tensor:
        """Return the labels of a pool of known inputs, `KNOWN` or `VALIDATION`."""
        samples = self.known if pool == KNOWN else self.validation
        assert samples is not None
        return samples.labels


def pool_name(group: str, name: str) -> str:
    """Return the name of a pool."""
    return f"{group} {name}"


def _same(inputs: Tensor) -> Tensor:
    return inputs
