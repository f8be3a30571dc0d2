"""Comparison of several uncertainties of the same predictions: measures, intervals and paired differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.binomial import exact_interval
from gradmeter.trust.evaluation.calibration import brier_score, expected_calibration_error, negative_log_likelihood
from gradmeter.trust.evaluation.curves import area_of_curve, risk_coverage_of_counts
from gradmeter.trust.evaluation.operating_point import fpr_of_counts
from gradmeter.trust.evaluation.resampling import (
    CONFIDENCE,
    REPETITIONS,
    Interval,
    Units,
    basic_interval,
    percentile_interval,
)
from gradmeter.trust.evaluation.samples import finite_sample
from gradmeter.trust.evaluation.selective import excess_area_of_curve, generalised_area_of_curve, risk_of_curve
from gradmeter.trust.evaluation.separation import separation_of_counts
from gradmeter.trust.evaluation.thresholds import AcceptedCounts, Ranking, counts_of_histograms

WRONG, ALL = "wrong", "wrong or unknown"
"""Columns in addition to the unknown concepts: wrong predictions for known inputs, and all wrong or unknown ones."""

# For the intervals, but not the values, scores are merged to about this number of thresholds.
_THRESHOLDS = 20_000
ROUNDING = 1e-12
"""Measures whose difference is at most this are equal: sums in a different order have different rounding errors."""
LEAST_INPUTS = 10
"""Smallest number of different inputs on either side that show a difference."""
_COVERAGES = {f"risk_{percent}": percent / 100 for percent in (80, 90, 95)}
"""Coverages of the measures of risk, by key."""
_BIASED = "ece"
"""The measure whose estimate is too high for few inputs."""
_SEPARATION = ("auroc", "aupr_in", "aupr_out", "fpr95_right", "fpr95_outside")
# Probabilities are clipped below 1, because an error of probability 0 would make the mean logarithm infinite.
_ALMOST_ONE = float(np.nextafter(1.0, 0.0))


@dataclass(frozen=True)
class Measure:
    """How tables show a measure.

    Attributes:
        name: displayed name.
        better: whether a higher or a lower value is better.
        percent: whether it is a share, displayed in percent.
        about: description in one sentence.
    """

    name: str
    better: Literal["higher", "lower"]
    percent: bool
    about: str


MEASURES = {
    "auroc": Measure("AUROC", "higher", True, "Right predictions against the group."),
    "aupr_in": Measure("AUPR-In", "higher", True, "Average precision with right predictions as positive."),
    "aupr_out": Measure("AUPR-Out", "higher", True, "Average precision with the group as positive."),
    "fpr95_right": Measure(
        "FPR95, right positive",
        "lower",
        True,
        "Accepted share of the group if 95 % of the right ones are.",
    ),
    "fpr95_outside": Measure(
        "FPR95, wrong or unknown positive",
        "lower",
        True,
        "Rejected share of the right predictions if 95 % of the group are.",
    ),
    "aurc": Measure("AURC", "lower", True, "Error rate of the accepted predictions, averaged over all coverages."),
    "e_aurc": Measure("E-AURC", "lower", True, "AURC minus that of a perfect order."),
    "augrc": Measure(
        "AUGRC", "lower", True, "Share of predictions both wrong and accepted, averaged over all coverages."
    ),
    "risk_80": Measure("Risk at 80 % coverage", "lower", True, "Error rate of the 80 % most trusted predictions."),
    "risk_90": Measure("Risk at 90 % coverage", "lower", True, "Error rate of the 90 % most trusted predictions."),
    "risk_95": Measure("Risk at 95 % coverage", "lower", True, "Error rate of the 95 % most trusted predictions."),
    "brier": Measure("Brier", "lower", True, "Mean squared difference of probability and outcome."),
    "nll": Measure("NLL", "lower", False, "Mean negative log probability of the outcome, in nats."),
    "ece": Measure("ECE", "lower", True, "Mean difference of probability and frequency over 15 bins."),
}
"""All measures by key. The last three need probabilities."""

Key = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class Judged:
    """Predictions, and their uncertainties by several methods.

    Attributes:
        correct: [N] bool, whether the prediction was right; False for unknown inputs.
        concept: [N] 0 for known inputs, k for the k-th unknown concept.
        unknowns: names of the unknown concepts.
        uncertainty: [N] for each method; a higher score means more uncertain.
        probability: [N] P(correct), for the methods that predict it.
        contents: [N] equal numbers for equal inputs, whose copies add no evidence; None if all differ.
        folds: [N] equal numbers for predictions whose uncertainty may be compared; None for all. Held-out predictions
            of different folds may not, because different classifiers judged them.

    Raises:
        InputError: if an array has the wrong shape or type, or no prediction is right.
    """

    correct: NDArray[np.bool_]
    concept: NDArray[np.int64]
    unknowns: tuple[str, ...]
    uncertainty: Mapping[str, NDArray[np.float64]]
    probability: Mapping[str, NDArray[np.float64]]
    contents: NDArray[np.uint64] | None = None
    folds: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Check the arrays."""
        if self.correct.dtype != np.bool_ or self.correct.ndim != 1:
            raise InputError(
                f"correct: expected a boolean array [N], got {self.correct.dtype} of shape {self.correct.shape}"
            )
        if not self.uncertainty:
            raise InputError("uncertainty: expected the scores of at least one method, got none")
        for name, values in (*self.uncertainty.items(), *self.probability.items()):
            if finite_sample(values, name).shape != self.correct.shape:
                raise InputError(f"{name}: expected {self.correct.size} scores, got {values.size}")
        if self.concept.shape != self.correct.shape or set(np.unique(self.concept)) - {*range(len(self.unknowns) + 1)}:
            raise InputError(f"concept: expected a number from 0 to {len(self.unknowns)} for each prediction")
        if self.contents is not None and self.contents.shape != self.correct.shape:
            raise InputError(f"contents: expected {self.correct.size} numbers, got {self.contents.size}")
        if self.folds is not None and self.folds.shape != self.correct.shape:
            raise InputError(f"folds: expected {self.correct.size} numbers, got {self.folds.size}")
        if (self.correct & (self.concept > 0)).any():
            raise InputError("correct: expected False for all unknown inputs, got True")
        if not self.correct.any():
            raise InputError(f"correct: expected some right predictions, got none of {self.correct.size:,}")
        if {WRONG, ALL} & set(self.unknowns) or len(set(self.unknowns)) < len(self.unknowns):
            raise InputError(
                f"unknowns: expected distinct names other than {WRONG!r} and {ALL!r}, got {', '.join(self.unknowns)}"
            )

    @property
    def inputs(self) -> NDArray[np.uint64]:
        """Equal numbers for equal inputs, [N]."""
        return np.arange(self.correct.size, dtype=np.uint64) if self.contents is None else self.contents

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """The known inputs with a wrong prediction, [N] bool."""
        known: NDArray[np.bool_] = self.concept == 0
        return known & ~self.correct

    def columns(self) -> dict[str, NDArray[np.bool_]]:
        """Return the groups to compare with right predictions, [N] bool by name; omit groups without samples."""
        columns = {WRONG: self.wrong}
        columns |= {name: self.concept == number for number, name in enumerate(self.unknowns, start=1)}
        columns = {name: members for name, members in columns.items() if members.any()}
        return {**columns, ALL: ~self.correct} if len(columns) > 1 else columns


@dataclass(frozen=True, eq=False)
class Comparison:
    """Measures and their intervals by (measure, column, method); empty if all predictions are right.

    Attributes:
        estimates: measures of each method.
        differences: measure of the first method minus that of another, with the same resamples.
        confidence: of the intervals.
        few: columns with fewer than `LEAST_INPUTS` different inputs of their own, or predicted right, with the number.
    """

    estimates: dict[Key, Interval]
    differences: dict[Key, Interval]
    confidence: float
    few: Mapping[str, int] = field(default_factory=dict)

    def verdict(self, measure: str, column: str, other: str) -> Literal["better", "worse", "no different"]:
        """Return whether the first method is better than another, according to the interval of the difference.

        A few inputs show no difference.
        """
        gain = self.differences[measure, column, other]
        if column in self.few or not gain.excludes_zero:
            return "no different"
        return "better" if (gain.low > 0) == (MEASURES[measure].better == "higher") else "worse"


def compare(
    judged: Judged,
    *others: Judged,
    repetitions: int = REPETITIONS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda repetitions: None,
) -> Comparison:
    """Return all measures of each method for each column, with bootstrap intervals, as `percentile_interval` does.

    Those of the calibration error, which has a bias, are as of `basic_interval`, within [0, 1].

    Where there is no error, or nothing else, so it is in each resample. The interval of a risk, AUROC, AUPR or FPR95 of
    0 therefore ends, and that of one of 1 begins, where that of Clopper and Pearson does for so many trials as inputs
    are accepted, or are in the smaller group. The interval of a difference from such a value has the same room.

    Separation measures (AUROC, AUPR, FPR95) compare the right predictions with those of the column. Selection measures
    (AURC and similar) and calibration measures are over all known inputs and the inputs of the column, in their given
    shares. Of several folds, separation and selection measures are averages, in which each fold counts by its pairs of
    a right prediction and one of the column. The average of the AUROC is unbiased; AUPR and FPR95 are better in folds
    with few inputs of the column, of all methods alike.

    The known inputs and each unknown concept are resampled separately, copies of an input together; all methods get the
    same resamples.

    Args:
        judged: the predictions.
        others: predictions of other networks for the same inputs, which may be right for others of them, with methods
            of other names.
        repetitions: number of resamples.
        confidence: of the intervals, strictly between 0 and 1.
        seed: of the resampling.
        on_progress: called with 1 after each resample.

    Raises:
        InputError: if `confidence` is invalid, or `others` are for other inputs or have a method of the same name.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence: expected a probability strictly between 0 and 1, got {confidence!r}")
    for other in others:
        if other.unknowns != judged.unknowns or not np.array_equal(other.concept, judged.concept):
            raise InputError("others: expected the concepts of the first predictions, because the inputs are the same")
    parts = (judged, *others)
    names = [name for part in parts for name in part.uncertainty]
    if len({*names}) < len(names):
        raise InputError(f"others: expected distinct names of methods, got {', '.join(names)}")
    random = np.random.default_rng(seed)
    groups = [np.flatnonzero(judged.concept == number) for number in range(len(judged.unknowns) + 1)]
    groups = [group for group in groups if group.size]
    inputs = judged.inputs
    units = [Units.of(inputs[group]) for group in groups]
    exact = [_folds(part) for part in parts]
    values = _measure_all(parts, exact, np.arange(judged.correct.size))
    coarse = [[fold.coarse(_THRESHOLDS // len(folds)) for fold in folds] for folds in exact]
    draws: dict[Key, list[float]] = {key: [] for key in values}
    for _ in range(repetitions):
        drawn = [of.rows(random.integers(len(of), size=len(of))) for of in units]
        resample = np.concatenate([group[rows] for group, rows in zip(groups, drawn, strict=True)])
        resampled = _measure_all(parts, coarse, resample)
        for key, key_draws in draws.items():
            key_draws.append(resampled.get(key, np.nan))
        on_progress(1)
    arrays = {key: np.array(key_draws) for key, key_draws in draws.items()}
    counts = {
        (column, method): count
        for part in parts
        for column, count in _counts(part)
        for method in part.uncertainty.keys() | part.probability.keys()
    }
    populations = {
        column: np.unique(inputs[(judged.concept == 0) | members]).size
        for part in parts
        for column, members in part.columns().items()
    }
    estimates = {key: _interval(key[0], values[key], arrays[key], counts[key[1:]], confidence) for key in values}
    for (measure, column, method), estimate in estimates.items():
        trials = _COVERAGES[measure] * populations[column] if measure in _COVERAGES else counts[column, method]
        estimates[measure, column, method] = _bounded(measure, estimate, trials, confidence)
    first_method = next(iter(judged.uncertainty))
    differences = {}
    for measure, column, method in values:
        key, first = (measure, column, method), (measure, column, first_method)
        if method != first_method and first in values:
            difference = _difference(values[first], values[key]).item()
            resampled_differences = _difference(arrays[first], arrays[key])
            count = min(counts[key[1:]], counts[first[1:]])
            interval = _interval(measure, difference, resampled_differences, count, confidence)
            differences[key] = _with_room(measure, interval, estimates[first], estimates[key])
    few: dict[str, int] = {}
    for (column, _), count in counts.items():
        if count < LEAST_INPUTS:
            few[column] = min(count, few.get(column, count))
    return Comparison(estimates, differences, confidence, few)


def _interval(measure: str, value: float, draws: NDArray[np.float64], count: int, confidence: float) -> Interval:
    of_draws = basic_interval if measure == _BIASED else percentile_interval
    return of_draws(value, draws, count, confidence)


def _bounded(measure: str, estimate: Interval, trials: float, confidence: float) -> Interval:
    """Return an estimate whose interval ends where shares do; that of a share of 0 or 1 of so many trials has room."""
    if measure == _BIASED:
        return replace(estimate, low=max(estimate.low, 0.0), high=min(estimate.high, 1.0))
    if not _is_extreme(measure, estimate):
        return estimate
    _, error = exact_interval(0, trials, confidence)
    if estimate.value <= ROUNDING:
        return replace(estimate, high=max(estimate.high, float(error)))
    return replace(estimate, low=min(estimate.low, 1 - float(error)))


def _with_room(measure: str, difference: Interval, first: Interval, other: Interval) -> Interval:
    """Return the difference `first` - `other`, with the room that either has if it is a share of 0 or 1."""
    low, high, value = difference.low, difference.high, difference.value
    if _is_extreme(measure, first):
        low, high = min(low, value + first.low - first.value), max(high, value + first.high - first.value)
    if _is_extreme(measure, other):
        low, high = min(low, value + other.value - other.high), max(high, value + other.value - other.low)
    return replace(difference, low=low, high=high)


def _is_extreme(measure: str, estimate: Interval) -> bool:
    """Return whether an estimate is a share of 0 or 1, which resamples do not vary."""
    is_share = measure in (*_COVERAGES, *_SEPARATION)
    return is_share and (estimate.value <= ROUNDING or estimate.value >= 1 - ROUNDING)


def _counts(judged: Judged) -> Iterator[tuple[str, int]]:
    """Yield each column with the number of different inputs of its own, or predicted right, whichever is smaller."""
    right = np.unique(judged.inputs[judged.correct]).size
    for column, members in judged.columns().items():
        yield column, min(right, np.unique(judged.inputs[members]).size)


@dataclass(frozen=True, eq=False)
class _Fold:
    """The predictions of one fold.

    Attributes:
        rows: [n] which these are.
        right: places in `rows` of right predictions.
        wrong: those of wrong predictions for known inputs.
        kinds: [n] a number for each: that of right ones, of wrong ones, or of the unknown concept.
        columns: those of the groups to compare with right predictions.
        rankings: of the fold's uncertainties, by method.
    """

    rows: NDArray[np.int64]
    right: NDArray[np.int64]
    wrong: NDArray[np.int64]
    kinds: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.int64]]
    rankings: Mapping[str, Ranking]

    @classmethod
    def of(cls, judged: Judged, rows: NDArray[np.int64]) -> Self:
        """Rank the predictions with these rows [n]."""
        right, wrong = np.flatnonzero(judged.correct[rows]), np.flatnonzero(judged.wrong[rows])
        kinds = np.unique(np.where(judged.correct, -1, judged.concept)[rows], return_inverse=True)[1]
        columns = {name: np.flatnonzero(members[rows]) for name, members in judged.columns().items()}
        rankings = {method: Ranking.of(scores[rows]) for method, scores in judged.uncertainty.items()}
        return cls(rows, right, wrong, kinds, columns, rankings)

    def coarse(self, limit: int) -> _Fold:
        """Merge thresholds such that at most about `limit` remain."""
        rankings = {method: ranking.coarse(limit, self.kinds) for method, ranking in self.rankings.items()}
        return replace(self, rankings=rankings)


def _folds(judged: Judged) -> list[_Fold]:
    numbers = np.zeros(judged.correct.size, np.int64) if judged.folds is None else judged.folds
    return [_Fold.of(judged, np.flatnonzero(numbers == number)) for number in np.unique(numbers)]


def _measure_all(
    parts: Sequence[Judged], folds: Sequence[Sequence[_Fold]], rows: NDArray[np.int64]
) -> dict[Key, float]:
    """Return all measures of the methods of all parts."""
    return {
        key: value
        for part, of_part in zip(parts, folds, strict=True)
        for key, value in _measure(part, of_part, rows).items()
    }


def _difference(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return `first` minus `second`, with 0 for differences of the size of rounding errors."""
    difference = np.subtract(first, second)
    return np.where(np.abs(difference) <= ROUNDING, 0.0, difference)


def _measure(judged: Judged, folds: Sequence[_Fold], rows: NDArray[np.int64]) -> dict[Key, float]:
    """Return all measures of the samples with the given rows [n], which may repeat."""
    weights = np.bincount(rows, minlength=judged.correct.size)
    by_fold: dict[Key, list[tuple[float, int]]] = {}
    for fold in folds:
        for key, value, pairs in _measure_fold(fold, weights[fold.rows]):
            by_fold.setdefault(key, []).append((value, pairs))
    values: dict[Key, float] = {}
    for column, members in judged.columns().items():
        # Not in the order of `by_fold`: the first fold may have no inputs of the first column.
        values |= {key: _average(of_folds) for key, of_folds in by_fold.items() if key[1] == column}
        in_population = rows[((judged.concept == 0) | members)[rows]]
        for method, probability in judged.probability.items():
            for measure, value in _calibration_measures(probability[in_population], judged.correct[in_population]):
                values[measure, column, method] = value
    return values


def _measure_fold(fold: _Fold, weights: NDArray[np.int64]) -> Iterator[tuple[Key, float, int]]:
    """Yield the measures of the rankings of predictions drawn `weights` [n] times, each with its number of pairs."""
    for method, ranking in fold.rankings.items():
        right, wrong = (ranking.histogram(places, weights[places]) for places in (fold.right, fold.wrong))
        for column, places in fold.columns.items():
            outside = ranking.histogram(places, weights[places])
            counts = counts_of_histograms(right, outside)
            # The errors in the population of a concept are its inputs and the wrong predictions for known inputs.
            population = counts if column in (WRONG, ALL) else counts_of_histograms(right, outside + wrong)
            if pairs := int(counts.inside[-1] * counts.outside[-1]):
                for measure, value in (*_separation_measures(counts), *_selection_measures(population)):
                    yield (measure, column, method), value, pairs


def _average(of_folds: Sequence[tuple[float, int]]) -> float:
    total = sum(pairs for _, pairs in of_folds)
    return sum(value * (pairs / total) for value, pairs in of_folds)


def _separation_measures(counts: AcceptedCounts) -> Iterator[tuple[str, float]]:
    separated = separation_of_counts(counts)
    yield "auroc", separated.auroc
    yield "aupr_in", separated.aupr_in
    yield "aupr_out", separated.aupr_out
    yield "fpr95_right", fpr_of_counts(counts, positive="inside")
    yield "fpr95_outside", fpr_of_counts(counts, positive="outside")


def _selection_measures(counts: AcceptedCounts) -> Iterator[tuple[str, float]]:
    curve, samples = risk_coverage_of_counts(counts), int(counts.inside[-1] + counts.outside[-1])
    yield "aurc", area_of_curve(curve)
    yield "e_aurc", excess_area_of_curve(curve, samples)
    yield "augrc", generalised_area_of_curve(curve)
    for measure, coverage in _COVERAGES.items():
        yield measure, risk_of_curve(curve, coverage)


def _calibration_measures(probability: NDArray[np.float64], correct: NDArray[np.bool_]) -> Iterator[tuple[str, float]]:
    yield "brier", brier_score(probability, correct)
    yield "nll", negative_log_likelihood(probability.clip(1 - _ALMOST_ONE, _ALMOST_ONE), correct)
    yield "ece", expected_calibration_error(probability, correct)
