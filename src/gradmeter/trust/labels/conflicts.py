"""Inputs that occur with different labels: at most one label of an input is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.folds import distinct_rows
from gradmeter.trust.labels.inputs import LabelReadings, Labels, Values


@dataclass(frozen=True, eq=False)
class Conflicts:
    """The inputs that occur with different labels.

    Attributes:
        pair: [N] the row of `of_pair` for each label; equal for the same label of the same input.
        of_pair: [P] the number of the input of each pair of an input and a label.
        inputs: numbers of the inputs with several labels.
        least_wrong: the least number of labels that are wrong, if each input has one right label.
    """

    pair: Labels
    of_pair: Labels
    inputs: Labels
    least_wrong: int

    @classmethod
    def of(cls, labelled: LabelReadings) -> Conflicts:
        """Find the inputs with several labels; none if equal inputs are unknown."""
        labels = np.asarray(labelled.labels).astype(np.int64)
        contents = np.arange(len(labels), dtype=np.uint64) if labelled.contents is None else labelled.contents
        rows, pair = distinct_rows(contents, labels)
        numbers, of_pair = np.unique(contents[rows], return_inverse=True)
        most = np.zeros(len(numbers), np.int64)
        np.maximum.at(most, of_pair, np.bincount(pair))
        inputs = np.flatnonzero(np.bincount(of_pair) > 1)
        return cls(pair, of_pair, inputs, int(len(labels) - most.sum()))

    def judged(self, log_odds: Values) -> Values:
        """Return log odds [N] that labels are wrong, given that at most one label of an input is right.

        Each of the verdicts on the labels of an input, r : 1 that it is right, counts: one of them is right with the
        odds r : 1 + the sum of the others.
        """
        if not len(self.inputs):
            return log_odds
        right = np.full(len(self.of_pair), -np.inf)
        np.maximum.at(right, self.pair, -log_odds)
        others = np.full(len(self.of_pair), -np.inf)
        order = np.argsort(self.of_pair, kind="stable")
        counts = np.bincount(self.of_pair)
        starts = counts.cumsum() - counts
        for count in np.unique(counts[counts > 1]).tolist():
            pairs = order[starts[counts == count, None] + np.arange(count)]
            others[pairs[:, 1:]] = np.logaddexp.accumulate(right[pairs[:, :-1]], axis=1)
            after = np.logaddexp.accumulate(right[pairs[:, :0:-1]], axis=1)[:, ::-1]
            others[pairs[:, :-1]] = np.logaddexp(others[pairs[:, :-1]], after)
        judged: Values = log_odds + np.logaddexp(0, others)[self.pair]
        return judged

    def raised(self, rate: Interval) -> Interval:
        """Return an estimate of the share of wrong labels that is not below the least possible one.

        If it was, the interval moves with it.
        """
        least = self.least_wrong / len(self.pair)
        excess = max(least - rate.value, 0.0)
        return Interval(max(rate.value, least), max(rate.low, least), min(rate.high + excess, 1.0))
