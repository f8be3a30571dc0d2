"""Several uncertainties of the same predictions side by side: every measure, with intervals and paired differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.calibration import brier_score, expected_calibration_error, negative_log_likelihood
from gradmeter.trust.evaluation.curves import area_of_curve, risk_coverage_of_counts
from gradmeter.trust.evaluation.operating_point import fpr_of_counts
from gradmeter.trust.evaluation.resampling import REPETITIONS, Interval
from gradmeter.trust.evaluation.samples import finite_sample
from gradmeter.trust.evaluation.selective import excess_area_of_curve, generalised_area_of_curve, risk_of_curve
from gradmeter.trust.evaluation.separation import separation_of_counts
from gradmeter.trust.evaluation.thresholds import AcceptedCounts, Ranking, counts_of_histograms

WRONG, ALL = "wrong", "wrong or unknown"
"""Columns beside the unknown concepts: wrong predictions for known inputs, and everything that must not be trusted."""

# Beyond so many thresholds the intervals, not the values, see neighbours as equal.
_THRESHOLDS = 20_000
ROUNDING = 1e-12
"""Measures that differ by no more are equal: sums of the same numbers in another order differ in their last digits."""
# The largest probability below 1: a certain error would make any mean logarithm infinite.
_ALMOST_ONE = float(np.nextafter(1.0, 0.0))


@dataclass(frozen=True)
class Measure:
    """A measure as tables show it.

    Attributes:
        name: for readers.
        better: whether a higher or a lower value is better.
        percent: whether it is a share, shown in percent.
        about: one sentence.
    """

    name: str
    better: Literal["higher", "lower"]
    percent: bool
    about: str


MEASURES = {
    "auroc": Measure("AUROC", "higher", True, "Right predictions against those of the group."),
    "aupr_in": Measure("AUPR-In", "higher", True, "Precision and recall with right predictions as the positive case."),
    "aupr_out": Measure(
        "AUPR-Out", "higher", True, "Precision and recall with those of the group as the positive case."
    ),
    "fpr95_right": Measure(
        "FPR95, right positive", "lower", True, "Share of the group that is accepted where 95 % of the right ones are."
    ),
    "fpr95_outside": Measure(
        "FPR95, wrong or unknown positive",
        "lower",
        True,
        "Share of right predictions that is rejected where 95 % of the group are.",
    ),
    "aurc": Measure("AURC", "lower", True, "Errors among what is accepted, averaged over all coverages."),
    "e_aurc": Measure("E-AURC", "lower", True, "AURC less that of a perfect order."),
    "augrc": Measure("AUGRC", "lower", True, "Share of all that is wrong and accepted, averaged over all coverages."),
    "risk_80": Measure("Risk at 80 % coverage", "lower", True, "Errors among the most trusted 80 %."),
    "risk_90": Measure("Risk at 90 % coverage", "lower", True, "Errors among the most trusted 90 %."),
    "risk_95": Measure("Risk at 95 % coverage", "lower", True, "Errors among the most trusted 95 %."),
    "brier": Measure("Brier", "lower", True, "Mean squared difference of probability and outcome."),
    "nll": Measure("NLL", "lower", False, "Mean of -log of the probability given to the outcome, in nats."),
    "ece": Measure("ECE", "lower", True, "Difference of probability and frequency, over 15 bins."),
}
"""All measures by key. The last three are of probabilities only."""

Key = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class Judged:
    """Predictions and how far each of several methods distrusts them.

    Attributes:
        correct: [N] bool, whether the prediction was right; False for unknown inputs.
        concept: [N] 0 for known inputs, k for the k-th unknown concept.
        unknowns: names of the unknown concepts.
        uncertainty: [N] each, by method; a higher score means more uncertain.
        probability: [N] each, P(correct) of those methods that state one.

    Raises:
        InputError: if the arrays do not fit.
    """

    correct: NDArray[np.bool_]
    concept: NDArray[np.int64]
    unknowns: tuple[str, ...]
    uncertainty: Mapping[str, NDArray[np.float64]]
    probability: Mapping[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        """Check that there is one of each for every prediction, and that some are right."""
        if self.correct.dtype != np.bool_ or self.correct.ndim != 1:
            raise InputError(
                f"correct: expected a boolean array [N], got {self.correct.dtype} of shape {self.correct.shape}"
            )
        if not self.uncertainty:
            raise InputError("uncertainty: expected the scores of at least one method, got none")
        for name, values in (*self.uncertainty.items(), *self.probability.items()):
            if finite_sample(values, name).shape != self.correct.shape:
                raise InputError(f"{name} has {values.size} scores; expected {self.correct.size}")
        if self.concept.shape != self.correct.shape or set(np.unique(self.concept)) - {*range(len(self.unknowns) + 1)}:
            raise InputError(f"concept: expected a number from 0 to {len(self.unknowns)} for each prediction")
        if (self.correct & (self.concept > 0)).any():
            raise InputError("correct: an unknown input is marked as right; expected False for all of them")
        if not self.correct.any():
            raise InputError(f"of {self.correct.size:,} predictions none is right; expected some that are")
        if {WRONG, ALL} & set(self.unknowns) or len(set(self.unknowns)) < len(self.unknowns):
            raise InputError(f"unknown concepts are named {', '.join(self.unknowns)}; expected distinct other names")

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """[N] known inputs with a wrong prediction."""
        known: NDArray[np.bool_] = self.concept == 0
        return known & ~self.correct

    def columns(self) -> dict[str, NDArray[np.bool_]]:
        """What right predictions are compared with: [N] bool for each column that has a sample."""
        columns = {WRONG: self.wrong}
        columns |= {name: self.concept == number for number, name in enumerate(self.unknowns, start=1)}
        columns = {name: members for name, members in columns.items() if members.any()}
        return {**columns, ALL: ~self.correct} if len(columns) > 1 else columns


@dataclass(frozen=True, eq=False)
class Comparison:
    """Measures by (measure, column, method), each with its interval; none where all predictions are right.

    Attributes:
        estimates: of every method.
        differences: of the first method minus another, resampled together.
        confidence: of the intervals.
    """

    estimates: dict[Key, Interval]
    differences: dict[Key, Interval]
    confidence: float

    def verdict(self, measure: str, column: str, other: str) -> Literal["better", "worse", "no different"]:
        """Whether the first method is better than another, as far as the interval can tell."""
        gain = self.differences[measure, column, other]
        # Not `low <= 0 <= high`: an interval of NaN tells nothing.
        if not (gain.low > 0 or gain.high < 0):
            return "no different"
        return "better" if (gain.low > 0) == (MEASURES[measure].better == "higher") else "worse"


def compare(
    judged: Judged,
    *,
    repetitions: int = REPETITIONS,
    confidence: float = 0.95,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda repetitions: None,
) -> Comparison:
    """Measure every method on every column, with percentile bootstrap intervals (Efron 1979).

    A column's separation (AUROC, AUPR, FPR95) is that of right predictions and of the column. Selection (AURC and the
    like) and calibration are over all known inputs and the column's, in the shares in which they are given.

    Known inputs and each unknown concept are resampled by themselves, for all methods alike.

    Args:
        judged: the predictions.
        repetitions: resamples.
        confidence: of the intervals, strictly between 0 and 1.
        seed: of the resampling.
        on_progress: told after every resample that one more is done.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence: expected a probability strictly between 0 and 1, got {confidence!r}")
    random = np.random.default_rng(seed)
    groups = [np.flatnonzero(judged.concept == number) for number in range(len(judged.unknowns) + 1)]
    groups = [group for group in groups if group.size]
    everything = np.arange(judged.correct.size)
    rankings = {name: Ranking.of(scores) for name, scores in judged.uncertainty.items()}
    values = _measured(judged, rankings, everything)
    kinds = np.unique(np.where(judged.correct, -1, judged.concept), return_inverse=True)[1]
    coarse = {name: ranking.coarse(_THRESHOLDS, kinds) for name, ranking in rankings.items()}
    draws: dict[Key, list[float]] = {key: [] for key in values}
    for _ in range(repetitions):
        drawn = np.concatenate([group[random.integers(group.size, size=group.size)] for group in groups])
        found = _measured(judged, coarse, drawn)
        for key, values_drawn in draws.items():
            values_drawn.append(found.get(key, np.nan))
        on_progress(1)
    drawn_of = {key: np.array(values_drawn) for key, values_drawn in draws.items()}
    ours = next(iter(judged.uncertainty))
    estimates = {key: _interval(values[key], drawn_of[key], confidence) for key in values}
    differences = {
        key: _interval(_gain(values[mine], values[key]).item(), _gain(drawn_of[mine], drawn_of[key]), confidence)
        for key in values
        for mine in [(key[0], key[1], ours)]
        if key[2] != ours and mine in values
    }
    return Comparison(estimates, differences, confidence)


def _interval(value: float, draws: NDArray[np.float64], confidence: float) -> Interval:
    tail = 50 * (1 - confidence)
    # A resample without a single sample of a column says nothing of it.
    low, high = np.nanpercentile(draws, (tail, 100 - tail)) if not np.isnan(draws).all() else (np.nan, np.nan)
    return Interval(value, float(low), float(high))


def _gain(ours: ArrayLike, theirs: ArrayLike) -> NDArray[np.float64]:
    """How much higher our measures are; 0 where only rounding tells them apart."""
    difference = np.subtract(ours, theirs)
    return np.where(np.abs(difference) <= ROUNDING, 0.0, difference)


def _measured(judged: Judged, rankings: Mapping[str, Ranking], drawn: NDArray[np.int64]) -> dict[Key, float]:
    """All measures of the samples `drawn` [n], some of them repeatedly."""
    found: dict[Key, float] = {}
    weights = np.bincount(drawn, minlength=judged.correct.size)
    columns = judged.columns()

    def histogram(ranking: Ranking, members: NDArray[np.bool_]) -> NDArray[np.int64]:
        samples = np.flatnonzero(members)
        return ranking.histogram(samples, weights[samples])

    for method, ranking in rankings.items():
        right, wrong = histogram(ranking, judged.correct), histogram(ranking, judged.wrong)
        for column, members in columns.items():
            outside = histogram(ranking, members)
            counts = counts_of_histograms(right, outside)
            # The errors of a concept's population are its own inputs and the known ones that are wrong.
            population = counts if column in (WRONG, ALL) else counts_of_histograms(right, outside + wrong)
            if counts.inside[-1] and counts.outside[-1]:
                for measure, value in (*_separating(counts), *_selecting(population)):
                    found[measure, column, method] = value
    for column, members in columns.items():
        taken = drawn[((judged.concept == 0) | members)[drawn]]
        for method, probability in judged.probability.items():
            for measure, value in _calibrating(probability[taken], judged.correct[taken]):
                found[measure, column, method] = value
    return found


def _separating(counts: AcceptedCounts) -> Iterator[tuple[str, float]]:
    separated = separation_of_counts(counts)
    yield "auroc", separated.auroc
    yield "aupr_in", separated.aupr_in
    yield "aupr_out", separated.aupr_out
    yield "fpr95_right", fpr_of_counts(counts, positive="inside")
    yield "fpr95_outside", fpr_of_counts(counts, positive="outside")


def _selecting(counts: AcceptedCounts) -> Iterator[tuple[str, float]]:
    curve, samples = risk_coverage_of_counts(counts), int(counts.inside[-1] + counts.outside[-1])
    yield "aurc", area_of_curve(curve)
    yield "e_aurc", excess_area_of_curve(curve, samples)
    yield "augrc", generalised_area_of_curve(curve)
    for percent in (80, 90, 95):
        yield f"risk_{percent}", risk_of_curve(curve, percent / 100)


def _calibrating(probability: NDArray[np.float64], correct: NDArray[np.bool_]) -> Iterator[tuple[str, Any]]:
    yield "brier", brier_score(probability, correct)
    yield "nll", negative_log_likelihood(probability.clip(1 - _ALMOST_ONE, _ALMOST_ONE), correct)
    yield "ece", expected_calibration_error(probability, correct)
