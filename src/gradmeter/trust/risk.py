"""A threshold on P(correct) below which nothing is accepted, so that errors among what is accepted stay below a rate.

Thresholds are tested one after the other, the strictest first, each with the hypothesis "more than `risk` of what this
threshold accepts is wrong". Given how many samples a fixed threshold accepts, the number of errors among them is
binomial, so P(Bin(accepted, risk) <= errors) is a valid p value, whatever the data and the network are; it is at most
delta just where the Clopper-Pearson upper bound at confidence 1 - delta is at most `risk`. Testing in an order that was
fixed before, until the first test fails, needs no correction for the number of tests (Angelopoulos, Bates, Candes,
Jordan and Lei 2021, "Learn then Test", Theorem 1 with fixed sequence testing). Several such sequences, begun at several
thresholds, share delta equally (union bound): one that begins too strictly, where too few samples are left to prove
anything, must not end the search.

Copies of an input are no independent draws. Where there are some, each test is made twice, with all samples and with
each different one once, and must reject both times: so it is valid where data were copied, and where some inputs are
simply common.

All hypotheses that these tests reject are false at once, with the stated confidence, so any of the thresholds may be
used. The most generous one need not be the best: where errors are rarer than the risk it accepts everything, also
inputs of kinds that the data of the test did not hold. So the strictest one is taken that gives up at most a small
share of the coverage.
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

LEAST_PROBABILITY = 0.5
"""Smallest P(correct) that is accepted, unless told otherwise: below it a prediction is likelier wrong than right."""
COVERAGE_TOLERANCE = 0.005
"""Share of the largest coverage that may be given up for a stricter threshold, unless told otherwise."""

# Coverages that are tried, and the number of sequences that begin among them.
_COVERAGES = 1000
_STARTS = 5
# Larger numbers of samples are not written out.
_COUNTABLE = 1e9


class RiskNotControlled(GradmeterError, ValueError):
    """No threshold can promise the risk that was asked for."""


@dataclass(frozen=True)
class Candidate:
    """A threshold that was chosen before the data of the test were seen.

    Attributes:
        threshold: accepted is what has at least this P(correct).
        coverage: the share that is expected to be accepted.
    """

    threshold: float
    coverage: float


@dataclass(frozen=True)
class Guarantee:
    """With the stated confidence over the draw of the data, at most the share `risk` of what is accepted is wrong.

    It holds for inputs drawn as those data were, unknown ones included in the same share.

    Attributes:
        threshold: smallest P(correct) that is accepted.
        risk: largest rate of errors among accepted inputs.
        confidence: that it holds.
        coverage: share of the data that is accepted.
        errors: among them.
        accepted: number of them.
        unknown_share: share of unknown inputs among the data; None where an earlier version did not note it.
    """

    threshold: float
    risk: float
    confidence: float
    coverage: float
    errors: int
    accepted: int
    unknown_share: float | None = None


def candidates(score: ArrayLike, least: float = LEAST_PROBABILITY) -> list[Candidate]:
    """Thresholds from the strictest to the most generous: quantiles of scores [N] of other data than the test's.

    Args:
        score: P(correct), and less than 0 for what is not to be accepted at any threshold.
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
    confidence: float = 0.95,
    coverage_tolerance: float = COVERAGE_TOLERANCE,
) -> Guarantee:
    """Find the strictest threshold that guarantees a risk at nearly the largest coverage that one can have.

    Args:
        score: [N] P(correct), or any score that grows with it.
        correct: [N] whether the prediction was right.
        risk: largest rate of errors among accepted inputs.
        thresholds: from the strictest to the most generous, chosen without these data.
        contents: [N] equal numbers for equal inputs; None where all differ.
        confidence: that the promise holds.
        coverage_tolerance: share of the largest coverage that may be given up for a stricter threshold.

    Raises:
        RiskNotControlled: if no threshold can guarantee it.
        InputError: for rates that are not strictly between 0 and 1, or data that do not fit.
    """
    require_rates(risk, confidence, coverage_tolerance=coverage_tolerance)
    scores, wrong = finite_sample(score, "score"), ~_boolean(correct)
    if wrong.shape != scores.shape:
        raise InputError(f"correct has shape {wrong.shape}; expected {scores.shape}, one for each score")
    # What even without a single error is needed to guarantee the risk, were it tested alone.
    delta = (1 - confidence) / _STARTS
    needed = np.ceil(math.log(delta) / math.log1p(-risk))
    distinct = np.arange(scores.size) if contents is None else _distinct(contents, wrong)
    possible = [candidate for candidate in thresholds if candidate.coverage * distinct.size >= needed]
    if not possible:
        eligible = max((candidate.coverage for candidate in thresholds), default=0.0) * distinct.size
        samples = f"{distinct.size:,} {'different ' if distinct.size < scores.size else ''}samples"
        least = f"{needed:,.0f}" if needed < _COUNTABLE else f"{needed:.2g}"
        raise RiskNotControlled(
            f"{samples} cannot promise a risk of {risk:g} with confidence {confidence:g}: about {eligible:,.0f} of "
            f"them reach the least P(correct) that is accepted; expected at least {least}, and none that is wrong: "
            "give more data, or a higher risk"
        )
    levels = np.array([candidate.threshold for candidate in possible])
    errors, accepted = _accepted(scores, wrong, levels)
    rejected = _rejected(errors, accepted, risk, delta)
    if distinct.size < scores.size:
        # Copies are no new evidence; but some inputs may be common. Either way the promise must hold.
        rejected &= _rejected(*_accepted(scores[distinct], wrong[distinct], levels), risk, delta)
    starts = range(0, len(possible), math.ceil(len(possible) / _STARTS))
    # A sequence goes on until the first hypothesis that it cannot reject.
    proved = np.any([_proved(rejected, start) for start in starts], axis=0)
    if not proved.any():
        raise RiskNotControlled(
            f"no threshold can promise a risk of {risk:g} with confidence {confidence:g}: of all {scores.size:,} "
            f"samples {np.mean(wrong):.2%} are wrong or unknown, and too many of those with the highest P(correct); "
            "give more data, or a higher risk"
        )
    enough = (1 - coverage_tolerance) * accepted[proved].max()
    chosen = int(np.flatnonzero(proved & (accepted >= enough))[0])
    return Guarantee(
        float(levels[chosen]),
        float(risk),
        float(confidence),
        float(accepted[chosen] / scores.size),
        int(errors[chosen]),
        int(accepted[chosen]),
    )


def _distinct(contents: ArrayLike, wrong: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Which samples stand for all that are equal: a wrong one where there is one."""
    numbers = np.asarray(contents)
    if numbers.shape != wrong.shape:
        raise InputError(f"contents has shape {numbers.shape}; expected {wrong.shape}, one for each score")
    order = np.lexsort((~wrong, numbers))
    _, first = np.unique(numbers[order], return_index=True)
    rows: NDArray[np.int64] = order[first]
    return rows


def _accepted(
    scores: NDArray[np.float64], wrong: NDArray[np.bool_], levels: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of what each level accepts the number of wrong samples, and of all."""
    order = np.argsort(scores)
    above = np.searchsorted(scores[order], levels)
    errors = np.concatenate([np.cumsum(wrong[order][::-1])[::-1], [0]])[above]
    return errors, scores.size - above


def _rejected(errors: NDArray[np.int64], accepted: NDArray[np.int64], risk: float, delta: float) -> NDArray[np.bool_]:
    """Whether each test rejects that more than the risk is wrong."""
    found: NDArray[np.bool_] = (accepted > 0) & (stats.binom.cdf(errors, accepted, risk) <= delta)
    return found


def _proved(rejected: NDArray[np.bool_], start: int) -> NDArray[np.bool_]:
    """Which hypotheses a sequence rejects that begins at one of them."""
    proved = np.zeros(len(rejected), np.bool_)
    proved[start:] = np.logical_and.accumulate(rejected[start:])
    return proved


def require_rates(
    risk: float,
    confidence: float,
    least_probability: float = LEAST_PROBABILITY,
    coverage_tolerance: float = COVERAGE_TOLERANCE,
) -> None:
    """Check what a guarantee is asked for.

    Raises:
        InputError: for a risk or a confidence that is not strictly between 0 and 1, or another number not in [0, 1).
    """
    # Callers may not check types.
    shares: dict[str, Any] = {"risk": risk, "confidence": confidence}
    limits: dict[str, Any] = {"least_probability": least_probability, "coverage_tolerance": coverage_tolerance}
    for name, value in shares.items():
        if not isinstance(value, (int, float, np.floating)) or not 0 < value < 1:
            raise InputError(f"{name}={value!r}; expected a share strictly between 0 and 1")
    for name, value in limits.items():
        if not isinstance(value, (int, float, np.floating)) or not 0 <= value < 1:
            raise InputError(f"{name}={value!r}; expected a number from 0 to less than 1")


def _boolean(values: ArrayLike) -> NDArray[np.bool_]:
    found = np.asarray(values)
    if found.dtype != np.bool_:
        raise InputError(f"correct is {found.dtype}; expected bool")
    return found
