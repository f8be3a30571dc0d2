"""Choose a threshold on P(correct) such that the error rate of the accepted predictions stays below a given risk.

The hypothesis for a threshold is that more than the share `risk` of the predictions it accepts is wrong. Given the
number of samples that a fixed threshold accepts, the number of errors among them is binomial, so
P(Bin(accepted, risk) <= errors) is a valid p value for any data and any network; it is at most delta exactly if the
Clopper-Pearson upper bound at confidence 1 - delta is at most `risk`. Tests in a fixed order, from the strictest
threshold to the first test that fails, need no correction for their number (Angelopoulos, Bates, Candes, Jordan and
Lei 2021, "Learn then Test", Theorem 1 with fixed sequence testing). Several sequences with different first thresholds
share delta equally (union bound), because a sequence whose first threshold accepts too few samples fails at once.

Copies of an input are not independent draws. If there are any, each test is done with all samples and with the
distinct samples, and must reject both times. The result is then valid both if the data were duplicated and if some
inputs are common in the distribution. Common inputs are also among those that the judge learned from, about which
the others say nothing: a single one may be a large share of the distribution, and wrong. So each test is done once more
with all samples and these together.

With the stated confidence, all rejected hypotheses are false, so each of their thresholds has the guarantee. The
lowest of them need not be the best: if errors are rarer than the risk, it accepts everything, including kinds of
unknown inputs that were not in the test data. Therefore the strictest threshold is chosen that gives up at most a
small share of the coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from gradmeter.errors import GradmeterError, InputError
from gradmeter.trust.evaluation.samples import finite_sample
from gradmeter.trust.meta_classifier import P_CORRECT

CONFIDENCE = 0.95
"""Default of the probability that a guarantee holds."""
LEAST_PROBABILITY = 0.5
"""Default of the smallest P(correct) that is accepted; below it, a prediction is more likely wrong than right."""
COVERAGE_TOLERANCE = 0.005
"""Default share of the largest coverage that may be given up for a stricter threshold."""

SEQUENCES = 5
"""Number of test sequences, which share 1 - confidence."""

# Number of tested coverages.
_COVERAGES = 1000
# Messages show larger numbers of samples in scientific notation.
_LARGEST_PLAIN = 1e9
# If this many samples, and half of all expected ones, do not reach a threshold, that is not by chance.
_MANY_MISSING = 10


class RiskNotControlled(GradmeterError, ValueError):
    """No threshold can guarantee the requested risk."""


@dataclass(frozen=True)
class Candidate:
    """A threshold chosen without the test data.

    Attributes:
        threshold: smallest P(correct) that is accepted.
        coverage: expected share of accepted predictions.
    """

    threshold: float
    coverage: float


@dataclass(frozen=True)
class Guarantee:
    """The guarantee that at most the share `risk` of the accepted predictions is wrong.

    It holds with probability `confidence` over the draw of the data, for inputs from the same distribution, with the
    same or smaller shares of each kind of unknown inputs.

    Attributes:
        threshold: smallest P(correct) that is accepted; `TrustModel.accept` also rejects unfamiliar inputs above it.
        risk: largest error rate among accepted inputs.
        confidence: probability that the guarantee holds.
        coverage: share of the data that is accepted.
        errors: number of errors among the accepted samples.
        accepted: number of accepted samples.
        unknown_share: share of unknown inputs in the data, with copies or without, whichever is less; None if loaded
            from a version that did not save it.
        unknown_shares: for each given set of unknown inputs, its share of this set and the known inputs together, with
            copies or without, whichever is less; an input of several sets counts for the first of them. None if loaded
            from a version that did not save it.
        score: the probability that the threshold is on, of `gradmeter.trust.meta_classifier.SCORES`.
    """

    threshold: float
    risk: float
    confidence: float
    coverage: float
    errors: int
    accepted: int
    unknown_share: float | None = None
    unknown_shares: tuple[float, ...] | None = None
    score: str = P_CORRECT


def candidates(score: ArrayLike, least: float = LEAST_PROBABILITY) -> list[Candidate]:
    """Return candidate thresholds, highest first: quantiles of scores of other data than the test data.

    Args:
        score: [N] P(correct); negative for predictions that no threshold accepts.
        least: smallest threshold.
    """
    scores = finite_sample(score, "score")
    coverages = np.arange(1, _COVERAGES + 1) / _COVERAGES
    thresholds = np.unique(np.quantile(scores, 1 - coverages).clip(least))[::-1]
    return [Candidate(float(threshold), float(np.mean(scores >= threshold))) for threshold in thresholds]


def control_risk(
    score: ArrayLike,
    correct: ArrayLike,
    risk: float,
    thresholds: Sequence[Candidate],
    *,
    contents: ArrayLike | None = None,
    seen: ArrayLike | None = None,
    confidence: float = CONFIDENCE,
    coverage_tolerance: float = COVERAGE_TOLERANCE,
) -> Guarantee:
    """Return the guarantee of the strictest threshold whose coverage is close to the largest possible.

    Args:
        score: [N] P(correct), or any score that grows with it.
        correct: [N] whether the prediction was right.
        risk: largest error rate among accepted inputs.
        thresholds: candidates, highest first, chosen without these data.
        contents: [N] equal numbers for equal inputs; None if all differ.
        seen: [N] whether the judge learned from the input; None if from none of them.
        confidence: probability that the guarantee holds.
        coverage_tolerance: share of the largest coverage that may be given up for a stricter threshold.

    Raises:
        RiskNotControlled: if no threshold can guarantee the risk.
        InputError: if a rate is outside its range, or an array has the wrong type or shape.
    """
    require_rates(risk, confidence, coverage_tolerance=coverage_tolerance)
    scores = finite_sample(score, "score")
    wrong = ~_as_bool("correct", correct, scores)
    # Smallest number of accepted samples, all of them right, for which a test rejects its hypothesis.
    delta = (1 - confidence) / SEQUENCES
    needed = np.ceil(math.log(delta) / math.log1p(-risk))
    new = np.arange(scores.size) if seen is None else np.flatnonzero(~_as_bool("seen", seen, scores))
    distinct = new if contents is None else _distinct(contents, wrong, new)
    lowest = thresholds[-1] if thresholds else Candidate(math.inf, 0.0)
    expected, reached = lowest.coverage * distinct.size, int((scores[distinct] >= lowest.threshold).sum())
    if min(expected, reached) < needed:
        samples = f"{distinct.size:,} {'distinct ' if distinct.size < new.size else ''}samples"
        least = f"{needed:,.0f}" if needed < _LARGEST_PLAIN else f"{needed:.2g}"
        count = f"{reached:,}" if reached < needed else f"by the data of fit, about {expected:,.0f}"
        raise RiskNotControlled(
            f"{samples} cannot guarantee a risk of {risk:g} with confidence {confidence:g}: {count} of them reach the "
            f"smallest accepted probability{and_seen(scores.size - new.size)}; expected at least {least}, none of "
            f"them wrong: {advice(reached, expected, 'data')}"
        )
    possible = (candidate for candidate in thresholds if candidate.coverage * distinct.size >= needed)
    levels = np.array([candidate.threshold for candidate in possible])
    errors, accepted = _accepted(scores[new], wrong[new], levels)
    rejected = _rejected(errors, accepted, risk, delta)
    for rows in (distinct, np.arange(scores.size)):
        if rows.size != new.size:  # there are copies, or samples that the judge learned from
            rejected &= _rejected(*_accepted(scores[rows], wrong[rows], levels), risk, delta)
    guaranteed = in_sequences(rejected)
    if not guaranteed.any():
        raise RiskNotControlled(
            f"no threshold can guarantee a risk of {risk:g} with confidence {confidence:g}: "
            f"{100 * np.mean(wrong[new]):.2f} % of the {new.size:,} samples are wrong or unknown, and too many of "
            "those with the highest probability"
            f"{of_copies(distinct.size, new.size)}{and_seen(scores.size - new.size)}; give more data, or a higher "
            "risk"
        )
    enough = (1 - coverage_tolerance) * accepted[guaranteed].max()
    chosen = int(np.flatnonzero(guaranteed & (accepted >= enough))[0])
    return Guarantee(
        float(levels[chosen]),
        float(risk),
        float(confidence),
        float(accepted[chosen] / new.size),
        int(errors[chosen]),
        int(accepted[chosen]),
    )


def advice(reached: int, expected: float, data: str) -> str:
    """What to do if too few reach the smallest accepted probability; `expected` is their number by the data of fit."""
    if not expected:
        return (
            "none of the data of fit reach it: lower least_probability (--least-probability), or use a better network"
        )
    if expected - reached < max(expected / 2, _MANY_MISSING):
        return f"give more {data}, or a higher risk"
    return (
        f"give more {data}, or a higher risk; by the data of fit, about {expected:,.0f} would reach it, so check that "
        "these are prepared in the same way, and that few are unknown"
    )


def of_copies(distinct: int, count: int, samples: str = "samples") -> str:
    """What to say of copies, whose number may be why there is no guarantee."""
    return f" (copies count once: {distinct:,} {samples} are distinct)" if distinct < count else ""


def and_seen(seen: int, inputs: str = "inputs") -> str:
    """What to say of inputs that the judge learned from, which may be why there is no guarantee."""
    return f" (it must also hold with {seen:,} more, of {inputs} that recur and were learned from)" if seen else ""


def _distinct(contents: ArrayLike, wrong: NDArray[np.bool_], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one of the rows of each distinct input, one with a wrong prediction if there is any."""
    numbers = np.asarray(contents)
    if numbers.shape != wrong.shape:
        raise InputError(f"contents has shape {numbers.shape}; expected {wrong.shape}, one for each score")
    numbers = numbers[rows]
    order = np.lexsort((~wrong[rows], numbers))
    _, first = np.unique(numbers[order], return_index=True)
    distinct: NDArray[np.int64] = rows[order[first]]
    return distinct


def _accepted(
    scores: NDArray[np.float64], wrong: NDArray[np.bool_], levels: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of wrong samples and of all samples that each level accepts."""
    order = np.argsort(scores)
    above = np.searchsorted(scores[order], levels)
    errors = np.concatenate([np.cumsum(wrong[order][::-1])[::-1], [0]])[above]
    return errors, scores.size - above


def _rejected(errors: NDArray[np.int64], accepted: NDArray[np.int64], risk: float, delta: float) -> NDArray[np.bool_]:
    """Return whether each test rejects the hypothesis that the error rate is above the risk."""
    rejected: NDArray[np.bool_] = (accepted > 0) & (stats.binom.cdf(errors, accepted, risk) <= delta)
    return rejected


def in_sequences(rejected: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which hypotheses are rejected by fixed sequences of tests, given which tests reject, strictest first [T].

    The error rate is at most `SEQUENCES` times that of a test.
    """
    starts = range(0, len(rejected), math.ceil(len(rejected) / SEQUENCES))
    in_any: NDArray[np.bool_] = np.any([_rejected_from(rejected, start) for start in starts], axis=0)
    return in_any


def _rejected_from(rejected: NDArray[np.bool_], start: int) -> NDArray[np.bool_]:
    """Return which hypotheses a sequence rejects: those from `start` to the first test that does not reject."""
    in_sequence = np.zeros(len(rejected), np.bool_)
    in_sequence[start:] = np.logical_and.accumulate(rejected[start:])
    return in_sequence


def require_rates(
    risk: float,
    confidence: float,
    least_probability: float = LEAST_PROBABILITY,
    coverage_tolerance: float = COVERAGE_TOLERANCE,
) -> None:
    """Check the parameters of a guarantee.

    Raises:
        InputError: if the risk or the confidence is not strictly between 0 and 1, or another number not in [0, 1).
    """
    shares: dict[str, Any] = {"risk": risk, "confidence": confidence}
    limits: dict[str, Any] = {"least_probability": least_probability, "coverage_tolerance": coverage_tolerance}
    for name, value in (shares | limits).items():
        if not isinstance(value, (int, float, np.floating)):
            raise InputError(f"{name} is a {type(value).__name__}; expected a number")
    for name, value in shares.items():
        if not 0 < value < 1:
            raise InputError(f"{name}={value!r}; expected a share strictly between 0 and 1")
    for name, value in limits.items():
        if not 0 <= value < 1:
            raise InputError(f"{name}={value!r}; expected a number from 0 to less than 1")


def _as_bool(name: str, values: ArrayLike, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.dtype != np.bool_:
        raise InputError(f"{name} has type {array.dtype}; expected bool")
    if array.shape != scores.shape:
        raise InputError(f"{name} has shape {array.shape}; expected {scores.shape}, one for each score")
    return array
