"""Differences between methods over all draws, with bootstrap intervals over the test inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gradmeter.research.gradient_gain.scored import Predicted, Scored
from gradmeter.trust.evaluation.comparison import ROUNDING
from gradmeter.trust.evaluation.resampling import REPETITIONS
from gradmeter.trust.evaluation.separation import separation_of_counts
from gradmeter.trust.evaluation.thresholds import Ranking, counts_of_histograms

Values = NDArray[np.float64]
Key = tuple[str, str]
"""A measure and a method."""

AUROC, AUPR_OUT, R2, SPEARMAN = "auroc", "aupr_out", "r2", "spearman"
ADDS, HURTS, NEITHER = "adds", "hurts", "does not"
"""Verdicts about a gain."""
_TAIL = 2.5  # percent on either side of an interval
_SEED = 0


@dataclass(frozen=True)
class Gain:
    """What one method has more than another.

    Attributes:
        value: mean difference over the draws.
        low, high: its bootstrap percentile interval of 95 %.
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
        if self.low > 0:
            return ADDS
        return HURTS if self.high < 0 else NEITHER


class Resampled:
    """Measures of several methods on the same draws, for the inputs as they are and for resamples of them.

    Each draw is resampled by itself, and all methods get the same resamples, so differences are paired.

    Args:
        draws: the inputs of each draw.
        measured: yields the measures of a draw's inputs, resampled with the given generator, or as they are for None.
        repetitions: number of resamples.
    """

    def __init__(
        self,
        draws: Sequence[Callable[[np.random.Generator | None], Mapping[Key, float]]],
        repetitions: int = REPETITIONS,
    ) -> None:
        random = np.random.default_rng(_SEED)
        self._draws = [draw(None) for draw in draws]
        resamples = [[draw(random) for draw in draws] for _ in range(repetitions)]
        self.keys = list(self._draws[0])
        self._samples = {
            key: np.array([np.mean([draw[key] for draw in resample]) for resample in resamples]) for key in self.keys
        }

    def value(self, measure: str, method: str) -> float:
        """Return the mean of a measure over the draws."""
        return float(np.mean([draw[measure, method] for draw in self._draws]))

    def gain(self, measure: str, method: str, than: str) -> Gain:
        """Return what a method has more than another of a measure."""
        differences = [draw[measure, method] - draw[measure, than] for draw in self._draws]
        value = _rounded(float(np.mean(differences)))
        samples = self._samples[measure, method] - self._samples[measure, than]
        low, high = (_rounded(float(bound)) for bound in np.percentile(samples, (_TAIL, 100 - _TAIL)))
        deviation = float(np.std(samples, ddof=1))
        p = 1.0 if deviation <= ROUNDING else 2 * float(stats.norm.sf(abs(value) / deviation))
        return Gain(value, low, high, p, sum(_rounded(difference) > 0 for difference in differences))


def resample_cases(draws: Sequence[Scored], repetitions: int = REPETITIONS) -> Resampled:
    """Return AUROC and AUPR-Out of each method; right predictions and the others are resampled separately."""
    return Resampled([_Separated(draw).measures for draw in draws], repetitions)


class _Separated:
    """One draw of a case, whose scores are sorted once."""

    def __init__(self, scored: Scored) -> None:
        self._groups = [np.flatnonzero(~scored.outside), np.flatnonzero(scored.outside)]
        self._rankings = {name: Ranking.of(scores) for name, scores in scored.scores.items()}

    def measures(self, random: np.random.Generator | None) -> dict[Key, float]:
        weights = [
            np.ones(len(group), np.int64)
            if random is None
            else np.bincount(random.integers(len(group), size=len(group)), minlength=len(group))
            for group in self._groups
        ]
        measures = {}
        for name, ranking in self._rankings.items():
            histograms = [ranking.histogram(group, weight) for group, weight in zip(self._groups, weights, strict=True)]
            separation = separation_of_counts(counts_of_histograms(*histograms))
            measures[AUROC, name], measures[AUPR_OUT, name] = separation.auroc, separation.aupr_out
        return measures


def resample_predictions(draws: Sequence[Predicted], repetitions: int = REPETITIONS) -> Resampled:
    """Return R^2 and Spearman's rank correlation of each method's predictions of the loss."""
    return Resampled([_Regressed(draw).measures for draw in draws], repetitions)


@dataclass(frozen=True, eq=False)
class _Regressed:
    predicted: Predicted

    def measures(self, random: np.random.Generator | None) -> dict[Key, float]:
        count = len(self.predicted.loss)
        rows = np.arange(count) if random is None else random.integers(count, size=count)
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
