"""Planted errors: which samples get a wrong label, and which one.

This code is separate from the corruptions that `gradmeter.trust.labels` learns from, so that neither is fitted to the
other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradmeter.errors import InputError

Values = NDArray[np.float64]

RATES = (0.02, 0.05, 0.10, 0.20)
"""Shares of the labels that are made wrong."""

# Each class is confused with each other one at least this often, so that there are always enough errors to draw.
_LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class Odds:
    """How errors are drawn.

    Attributes:
        rows: [N] positive weights; a sample is more likely to get a wrong label if its weight is larger.
        labels: [N, C] weights of the wrong labels of each sample; 0 for its true label.
    """

    rows: Values
    labels: Values


@dataclass(frozen=True, eq=False)
class Plan:
    """Wrong labels for some samples, in the order in which they are used: a higher rate adds errors to a lower one.

    Attributes:
        labels: [N] true labels.
        rows: [M] the samples that get a wrong label at the highest rate.
        wrong: [M] their wrong labels.
    """

    labels: NDArray[np.int64]
    rows: NDArray[np.int64]
    wrong: NDArray[np.int64]

    def rows_at(self, rate: float) -> NDArray[np.int64]:
        """Return the samples that have a wrong label at a rate: `rate` times N, rounded.

        Raises:
            InputError: if the rate is higher than the highest one of the plan.
        """
        count = round(rate * len(self.labels))
        if not 0 <= count <= len(self.rows):
            most = len(self.rows) / len(self.labels)
            raise InputError(f"rate={rate:g}; expected at least 0 and at most {most:g}, the plan's highest rate")
        return self.rows[:count]

    def given(self, rate: float) -> NDArray[np.int64]:
        """Return the labels [N] with the errors of a rate."""
        rows, given = self.rows_at(rate), self.labels.copy()
        given[rows] = self.wrong[: len(rows)]
        return given


def _symmetric(labels: NDArray[np.int64], network: Values, early: Values) -> Odds:
    """Every sample and every wrong label is equally likely."""
    return Odds(np.ones(len(labels)), np.ones_like(network))


def _class_dependent(labels: NDArray[np.int64], network: Values, early: Values) -> Odds:
    """Classes are confused as often as the network confuses them."""
    classes = network.shape[1]
    confusion = np.stack([network[labels == label].sum(axis=0) for label in range(classes)])
    confusion /= np.bincount(labels, minlength=classes).clip(1)[:, None]
    np.fill_diagonal(confusion, 0)
    return Odds(confusion.sum(axis=1)[labels], confusion[labels])


def _instance_dependent(labels: NDArray[np.int64], network: Values, early: Values) -> Odds:
    """A sample is as likely to get a wrong label as an early network gives it one."""
    return Odds(1 - early[np.arange(len(labels)), labels], early)


KINDS: dict[str, Callable[[NDArray[np.int64], Values, Values], Odds]] = {
    "symmetric": _symmetric,
    "class-dependent": _class_dependent,
    "instance-dependent": _instance_dependent,
}
"""For each kind of error a function of the true labels [N], the network's probabilities [N, C] and those of an early
network [N, C], one that learned less."""


def plan_errors(
    kind: str, labels: NDArray[np.int64], network: Values, early: Values, *, seed: int, most: float = max(RATES)
) -> Plan:
    """Draw wrong labels.

    Args:
        kind: a name in `KINDS`.
        labels: [N] true labels.
        network: [N, C] probabilities of the network whose confusion class-dependent errors follow.
        early: [N, C] probabilities of the early network that instance-dependent errors follow.
        seed: of the draw.
        most: highest rate.

    Raises:
        InputError: if the kind is unknown, a label is no class, or the shapes differ.
    """
    if kind not in KINDS:
        raise InputError(f"no kind of error {kind!r}; there are {', '.join(KINDS)}")
    if network.shape != early.shape or len(network) != len(labels):
        raise InputError(
            f"probabilities of {network.shape} and {early.shape} for {len(labels)} labels; expected [N, C] each"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < network.shape[1]:
        raise InputError(
            f"labels from {labels.min()} to {labels.max()}; expected classes from 0 to {network.shape[1] - 1}"
        )
    odds = KINDS[kind](labels, network.astype(np.float64), early.astype(np.float64))
    random = np.random.default_rng(seed)
    # The largest of log weights plus Gumbel noise: a draw without replacement, in order (Yellott 1977).
    keys = np.log(odds.rows.clip(_LEAST)) + random.gumbel(size=len(labels))
    rows = np.argsort(-keys)[: round(most * len(labels))]
    weights = odds.labels[rows].clip(_LEAST)
    weights[np.arange(len(rows)), labels[rows]] = 0
    wrong = np.argmax(
        np.log(weights, where=weights > 0, out=np.full_like(weights, -np.inf)) + random.gumbel(size=weights.shape),
        axis=1,
    )
    return Plan(labels, rows, wrong)
