"""Differences between methods over all draws, with bootstrap intervals over the test inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gradmeter.research.gradient_gain.scored import Predicted, Scored
from gradmeter.trust.evaluation.comparison import ROUNDING
from gradmeter.trust.evaluation.resampling import REPETITIONS, Interval

Values = NDArray[np.float64]
Key = tuple[str, str]
"""A measure and a method."""

AUROC, AUPR_OUT, R2, SPEARMAN = "auroc", "aupr_out", "r2", "spearman"
ADDS, HURTS, NEITHER, UNDEFINED = "adds", "hurts", "does not", "no interval"
"""Verdicts about a gain."""
# The least share of the resamples in which a difference must be defined, for an interval.
_DEFINED = 0.95
_TAIL = 2.5  # percent on either side of an interval
_SEED = 0
_AT_ONCE = 50  # resamples, to bound the memory


@dataclass(frozen=True)
class Gain:
    """What one method has more than another.

    Attributes:
        value: mean difference over the draws.
        low, high: its bootstrap percentile interval of 95 %; NaN if too many resamples lack samples of one kind.
        p: two-sided p value of no difference, by a normal approximation with the bootstrap's standard error.
        ahead: number of draws in which the first method is better.
    """

    value: float
    low: float
    high: float
    p: float
    ahead: int

    @property
    def verdict(self) -> str:
        """Whether it adds, hurts, or does neither, by the interval."""
        if math.isnan(self.low):
            return UNDEFINED
        if self.low > 0:
            return ADDS
        return HURTS if self.high < 0 else NEITHER


def gain_text(gain: Gain, factor: float = 100) -> str:
    """Return a gain with its interval, in points if the factor is 100."""
    value, low, high = (f"{factor * number:+.2f}" for number in (gain.value, gain.low, gain.high))
    return f"{value} ({UNDEFINED})" if gain.verdict == UNDEFINED else f"{value} [{low}, {high}]"


class Measured(Protocol):
    """The inputs of one draw."""

    def measures(self) -> dict[Key, float]:
        """Return the measures of the inputs as they are."""

    def resampled(self, repetitions: int, random: np.random.Generator) -> dict[Key, Values]:
        """Return the measures [repetitions] of resamples of the inputs, the same ones for all methods."""


class Resampled:
    """Measures of several methods on the same draws, for the inputs as they are and for resamples of them.

    Each draw is resampled by itself, and all methods get the same resamples, so differences are paired.

    Args:
        draws: the inputs of each draw.
        repetitions: number of resamples.
    """

    def __init__(self, draws: Sequence[Measured], repetitions: int = REPETITIONS) -> None:
        random = np.random.default_rng(_SEED)
        self._draws = [draw.measures() for draw in draws]
        samples = [draw.resampled(repetitions, random) for draw in draws]
        self.keys = list(self._draws[0])
        self._samples = {key: np.mean([draw[key] for draw in samples], axis=0) for key in self.keys}

    def value(self, measure: str, method: str) -> float:
        """Return the mean of a measure over the draws."""
        return float(np.mean([draw[measure, method] for draw in self._draws]))

    def interval(self, measure: str, method: str) -> Interval:
        """Return the mean of a measure over the draws with its bootstrap percentile interval of 95 %."""
        low, high = np.percentile(self._samples[measure, method], (_TAIL, 100 - _TAIL))
        return Interval(self.value(measure, method), float(low), float(high))

    def gain(self, measure: str, method: str, than: str) -> Gain:
        """Return what a method has more than another of a measure."""
        differences = np.array([draw[measure, method] - draw[measure, than] for draw in self._draws])
        return gain_of(differences, self._samples[measure, method] - self._samples[measure, than])


def gain_of(differences: Values, samples: Values) -> Gain:
    """Return a gain from its differences [draws] and from the resamples [repetitions] of their mean.

    Resamples in which the difference is not defined are left out.
    """
    value = _rounded(float(np.mean(differences)))
    ahead = sum(_rounded(float(difference)) > 0 for difference in differences)
    defined = samples[np.isfinite(samples)]
    if len(defined) < _DEFINED * len(samples):
        return Gain(value, math.nan, math.nan, math.nan, ahead)
    low, high = (_rounded(float(bound)) for bound in np.percentile(defined, (_TAIL, 100 - _TAIL)))
    deviation = float(np.std(defined, ddof=1))
    p = 1.0 if deviation <= ROUNDING else 2 * float(stats.norm.sf(abs(value) / deviation))
    return Gain(value, low, high, p, ahead)


def resample_cases(draws: Sequence[Scored], repetitions: int = REPETITIONS) -> Resampled:
    """Return AUROC and AUPR-Out of each method; right predictions and the others are resampled separately."""
    return Resampled([Separated(draw) for draw in draws], repetitions)


class Separated:
    """One draw of a case, whose scores are sorted once.

    Args:
        scored: the scores of all methods.
    """

    def __init__(self, scored: Scored) -> None:
        self._outside = scored.outside
        self._orders = {name: Order(scores, scored.outside) for name, scores in scored.scores.items()}

    def measures(self) -> dict[Key, float]:
        """Return the measures of the inputs as they are."""
        once = self._of_weights(np.ones((len(self._outside), 1), np.int32))
        return {key: float(values[0]) for key, values in once.items()}

    def resampled(self, repetitions: int, random: np.random.Generator) -> dict[Key, Values]:
        """Return the measures [repetitions] of resamples of the inputs."""
        parts = [
            self._of_weights(self._weights(min(_AT_ONCE, repetitions - first), random))
            for first in range(0, repetitions, _AT_ONCE)
        ]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def measures_of(self, counts: Counts) -> dict[str, Values]:
        """Return the measures [repetitions] of a method, by name."""
        auroc, aupr_out = counts.separation()
        return {AUROC: auroc, AUPR_OUT: aupr_out}

    def _weights(self, repetitions: int, random: np.random.Generator) -> NDArray[np.int32]:
        """Return how often each sample occurs in each resample, [n, repetitions]."""
        weights = np.empty((len(self._outside), repetitions), np.int32)
        for members in (self._outside, ~self._outside):
            count = np.count_nonzero(members)
            weights[members] = random.multinomial(count, np.full(count, 1 / count), size=repetitions).T
        return weights

    def _of_weights(self, weights: NDArray[np.int32]) -> dict[Key, Values]:
        return {
            (measure, name): values
            for name, order in self._orders.items()
            for measure, values in self.measures_of(order.counts(weights)).items()
        }


class Order:
    """The order of the scores of one method, which many resamples share.

    Args:
        scores: [n] the higher, the less trust.
        outside: [n] whether the sample is wrong or unknown.
    """

    def __init__(self, scores: Values, outside: NDArray[np.bool_]) -> None:
        self._order = np.argsort(scores)
        ordered = scores[self._order]
        # Equal scores count together.
        self._ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
        self._outside = outside[self._order]

    def counts(self, weights: NDArray[np.int32]) -> Counts:
        """Count the samples up to each score, weighted by [n, repetitions]."""
        # Resamples along the last axis: cumulative sums and selections then run over whole rows.
        ordered = weights[self._order]
        up_to = np.cumsum(ordered, axis=0, dtype=np.int32)[self._ends]
        return Counts(up_to, np.cumsum(ordered * self._outside[:, None], axis=0, dtype=np.int32)[self._ends])


@dataclass(frozen=True, eq=False)
class Counts:
    """How many samples have at most each score, from the lowest score to the highest, in each resample.

    Attributes:
        samples: [scores, repetitions].
        outside: [scores, repetitions] those of them that are wrong or unknown.
    """

    samples: NDArray[np.int32]
    outside: NDArray[np.int32]

    def separation(self) -> tuple[Values, Values]:
        """Return AUROC and AUPR-Out [repetitions], as `separation` does."""
        inside = self.samples - self.outside
        samples, outside = self.samples[-1].astype(np.float64), self.outside[-1].astype(np.float64)
        new_outside, new_inside = np.diff(self.outside, axis=0, prepend=0), np.diff(inside, axis=0, prepend=0)
        auroc = (new_outside * (inside - new_inside / 2)).sum(axis=0) / (outside * (samples - outside))
        # The samples whose score is at least that of a rank are rejected together.
        rejected = samples - self.samples + new_inside + new_outside
        precision = (outside - self.outside + new_outside) / np.maximum(rejected, 1)
        return auroc, (new_outside * precision).sum(axis=0) / outside

    def precision_of_first(self, count: int) -> Values:
        """Return the share of wrong or unknown samples among those with the highest scores, [repetitions].

        Args:
            count: how many samples; of equal scores, as many as are needed count in proportion.
        """
        count = min(count, int(self.samples[-1].min()))
        left, columns = self.samples[-1] - count, np.arange(self.samples.shape[1])
        # The lowest score that still belongs to the first ones.
        rank = (self.samples > left).argmax(axis=0)
        higher = self.samples[-1] - self.samples[rank, columns]
        outside_higher = self.outside[-1] - self.outside[rank, columns]
        below = np.where(rank, rank - 1, 0)
        equal = self.samples[rank, columns] - np.where(rank, self.samples[below, columns], 0)
        outside_equal = self.outside[rank, columns] - np.where(rank, self.outside[below, columns], 0)
        precision: Values = (outside_higher + (count - higher) * outside_equal / equal) / count
        return precision


def resample_predictions(draws: Sequence[Predicted], repetitions: int = REPETITIONS) -> Resampled:
    """Return R^2 and Spearman's rank correlation of each method's predictions of the loss."""
    return Resampled([_Regressed(draw) for draw in draws], repetitions)


@dataclass(frozen=True, eq=False)
class _Regressed:
    """One draw of a meta regression."""

    predicted: Predicted

    def measures(self) -> dict[Key, float]:
        return self._of_rows(np.arange(len(self.predicted.loss)))

    def resampled(self, repetitions: int, random: np.random.Generator) -> dict[Key, Values]:
        count = len(self.predicted.loss)
        parts = [self._of_rows(random.integers(count, size=count)) for _ in range(repetitions)]
        return {key: np.array([part[key] for part in parts]) for key in parts[0]}

    def _of_rows(self, rows: NDArray[np.int64]) -> dict[Key, float]:
        loss = self.predicted.loss[rows]
        ranks = stats.rankdata(loss)
        measures = {}
        for name, predictions in self.predicted.predictions.items():
            prediction = predictions[rows]
            measures[R2, name] = 1 - float(((loss - prediction) ** 2).sum() / ((loss - loss.mean()) ** 2).sum())
            measures[SPEARMAN, name] = _correlation(ranks, stats.rankdata(prediction))
        return measures


def _correlation(a: Values, b: Values) -> float:
    """Return Pearson's correlation; 0 for a constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values of several hypotheses, adjusted by the method of Holm (1979)."""
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.maximum.accumulate(np.asarray(p_values)[order] * factors).clip(max=1)
    result = np.empty(len(p_values))
    result[order] = adjusted
    return [float(p) for p in result]


def complete(draws: Sequence[Scored]) -> Iterator[Scored]:
    """Iterate over the draws that have right predictions and others, and at least two of each."""
    return (draw for draw in draws if 2 <= np.count_nonzero(draw.outside) <= len(draw.outside) - 2)


def _rounded(difference: float) -> float:
    return 0.0 if abs(difference) <= ROUNDING else difference
