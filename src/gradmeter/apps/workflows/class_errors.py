"""How often the predictions of each class are right, and the accepted ones of each class wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from gradmeter.names import printable
from gradmeter.report.grid import Block, Cell, Grid
from gradmeter.report.probabilities import percent
from gradmeter.trust.evaluation.binomial import exact_interval

# Probability that a class counts as one that exceeds the risk although none does.
_ERROR = 0.05
_CONFIDENCE = 0.95
# The most classes in a table.
_ROWS = 20


@dataclass(frozen=True)
class ClassErrors:
    """The predictions of one class for known inputs.

    Attributes:
        name: of the predicted class.
        predictions: their number.
        right: number of right ones.
        p_correct: their mean P(correct).
        accepted: number of accepted ones; None without a guarantee.
        errors: number of wrong ones, among the accepted ones if there is a guarantee, else among all.
    """

    name: str
    predictions: int
    right: int
    p_correct: float
    accepted: int | None
    errors: int

    @property
    def count(self) -> int:
        """The number of predictions among which `errors` are."""
        return self.predictions if self.accepted is None else self.accepted

    def interval(self) -> tuple[float, float]:
        """The exact confidence interval of the error rate; all rates if there are no predictions."""
        low, high = exact_interval(self.errors, self.count, _CONFIDENCE)
        return float(low), float(high)


def class_errors(
    name: Callable[[int], str],
    predictions: NDArray[np.int64],
    correct: NDArray[np.bool_],
    p_correct: NDArray[np.float64],
    accepted: NDArray[np.bool_] | None,
) -> tuple[ClassErrors, ...]:
    """Return the errors of each predicted class, in the order of the lower end of the interval, the highest first.

    Args:
        name: the name of a class by its number.
        predictions: [N], class numbers.
        correct: [N], whether they are right.
        p_correct: [N].
        accepted: [N]; None without a guarantee.
    """
    numbers, of_row, totals = np.unique(predictions, return_inverse=True, return_counts=True)

    def counts(rows: NDArray[np.bool_]) -> list[int]:
        counted: list[int] = np.bincount(of_row[rows], minlength=len(numbers)).tolist()
        return counted

    judged = np.ones_like(correct) if accepted is None else accepted
    means = np.bincount(of_row, p_correct) / totals
    classes = [
        ClassErrors(name(number), total, right, mean, None if accepted is None else count, errors)
        for number, total, right, mean, count, errors in zip(
            numbers.tolist(),
            totals.tolist(),
            counts(correct),
            means.tolist(),
            counts(judged),
            counts(judged & ~correct),
            strict=True,
        )
    ]
    low, _ = exact_interval([given.errors for given in classes], [given.count for given in classes], _CONFIDENCE)
    return tuple(classes[number] for number in np.argsort(-low, kind="stable").tolist())


def exceeding(classes: Sequence[ClassErrors], risk: float) -> list[ClassErrors]:
    """Return the classes of which clearly more than a share of the predictions is wrong.

    These are the classes whose errors would be unlikely at that risk, even in the worst of so many classes.
    """
    judged = [given for given in classes if given.count]
    return [given for given in judged if binom.sf(given.errors - 1, given.count, risk) < _ERROR / len(judged)]


def class_grid(classes: Sequence[ClassErrors]) -> Grid:
    """Return a table with a row for each class; of many, only the first."""
    has_guarantee = classes[0].accepted is not None
    of_accepted = ("accepted", "wrong among these, %") if has_guarantee else ()
    columns = ("predictions", "mean P(correct), %", "right, %", *of_accepted)

    def cells(given: ClassErrors) -> tuple[Cell, ...]:
        first = (
            Cell(f"{given.predictions:,}"),
            Cell(percent(given.p_correct, 1)),
            Cell(percent(given.right / given.predictions, 1)),
        )
        if not has_guarantee:
            return first
        low, high = (f"{100 * end:.1f}" for end in given.interval())
        wrong = percent(given.errors / given.count, 1) if given.count else "\N{EN DASH}"
        return (*first, Cell(f"{given.count:,}"), Cell(wrong, f"[{low}, {high}]"))

    note = (
        f"Known inputs only, copies once. The classes are in the order of the lower end of the {100 * _CONFIDENCE:g} % "
        f"confidence interval of the error rate{', in brackets' if has_guarantee else ''}."
    )
    if len(classes) > _ROWS:
        note += f" These are {_ROWS} of {len(classes):,} predicted classes; results.json has all of them."
    rows = tuple((printable(given.name), cells(given)) for given in classes[:_ROWS])
    return Grid("Predictions of each class", "predicted class", columns, (Block("", rows),), (note,))
