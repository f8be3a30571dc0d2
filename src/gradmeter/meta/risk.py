"""A threshold on P(correct) below which nothing is accepted, so that errors among what is accepted stay below a rate.

Thresholds are tested one after the other, the strictest first, each with the hypothesis "more than `risk` of what this
threshold accepts is wrong". Given how many samples a fixed threshold accepts, the number of errors among them is
binomial, so P(Bin(accepted, risk) <= errors) is a valid p value, whatever the data and the network are; it is at most
delta just where the Clopper-Pearson upper bound at confidence 1 - delta is at most `risk`. Testing in an order that was
fixed before, until the first test fails, needs no correction for the number of tests (Angelopoulos, Bates, Candes,
Jordan and Lei 2021, "Learn then Test", Theorem 1 with fixed sequence testing). Several such sequences, begun at several
thresholds, share delta equally (union bound): one that begins too strictly, where too few samples are left to prove
anything, must not end the search.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from gradmeter.errors import GradmeterError, InputError
from gradmeter.evaluation.samples import finite_sample

# Coverages that are tried, and every how many of them a sequence begins.
_COVERAGES = 200
_STARTS = 5


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
        threshold: accepted is what has at least this P(correct).
        risk: largest rate of errors among accepted inputs.
        confidence: that it holds.
        coverage: share of the data that is accepted.
        errors: among them.
        accepted: number of them.
    """

    threshold: float
    risk: float
    confidence: float
    coverage: float
    errors: int
    accepted: int


def candidates(probability: ArrayLike) -> list[Candidate]:
    """Thresholds from the strictest to the most generous: quantiles of P(correct) [N] of other data than the test's."""
    p = finite_sample(probability, "probability")
    coverages = np.arange(1, _COVERAGES + 1) / _COVERAGES
    thresholds = np.quantile(p, 1 - coverages)
    return [Candidate(float(t), float(c)) for t, c in zip(thresholds, coverages, strict=True)]


def control_risk(
    probability: ArrayLike,
    correct: ArrayLike,
    risk: float,
    thresholds: Sequence[Candidate],
    *,
    confidence: float = 0.95,
) -> Guarantee:
    """Find the most generous threshold that can promise a risk.

    Args:
        probability: [N] P(correct), or any score that grows with it.
        correct: [N] whether the prediction was right.
        risk: largest rate of errors among accepted inputs.
        thresholds: from the strictest to the most generous, chosen without these data.
        confidence: that the promise holds.

    Raises:
        RiskNotControlled: if no threshold can promise it.
        InputError: for rates that are not strictly between 0 and 1, or data that do not fit.
    """
    require_rates(risk, confidence)
    p, wrong = finite_sample(probability, "probability"), ~_boolean(correct)
    if wrong.shape != p.shape:
        raise InputError(f"correct has shape {wrong.shape}; expected {p.shape}, one for each probability")
    # What even without a single error is needed to promise the risk, were it tested alone.
    delta = (1 - confidence) / _STARTS
    needed = math.ceil(math.log(delta) / math.log1p(-risk))
    possible = [one for one in thresholds if one.coverage * p.size >= needed]
    if not possible:
        raise RiskNotControlled(
            f"{p.size:,} samples cannot promise a risk of {risk:g} with confidence {confidence:g}; expected at least "
            f"{needed:,} of which none is wrong: give more data, or a higher risk"
        )
    best: Guarantee | None = None
    for start in range(0, len(possible), math.ceil(len(possible) / _STARTS)):
        for candidate in possible[start:]:
            taken = p >= candidate.threshold
            accepted, errors = int(np.count_nonzero(taken)), int(np.count_nonzero(wrong & taken))
            if accepted == 0 or stats.binom.cdf(errors, accepted, risk) > delta:
                break
            if best is None or candidate.threshold < best.threshold:
                best = Guarantee(candidate.threshold, risk, confidence, accepted / p.size, errors, accepted)
    if best is None:
        raise RiskNotControlled(
            f"no threshold can promise a risk of {risk:g} with confidence {confidence:g}: of all {p.size:,} samples "
            f"{np.mean(wrong):.2%} are wrong or unknown, and too many of those with the highest P(correct); give more "
            "data, or a higher risk"
        )
    return best


def require_rates(risk: float, confidence: float) -> None:
    """Check a risk and its confidence.

    Raises:
        InputError: for rates that are not strictly between 0 and 1.
    """
    for name, value in (("risk", risk), ("confidence", confidence)):
        if not 0 < value < 1:
            raise InputError(f"{name}={value!r}; expected a share strictly between 0 and 1")


def _boolean(values: ArrayLike) -> NDArray[np.bool_]:
    found = np.asarray(values)
    if found.dtype != np.bool_:
        raise InputError(f"correct is {found.dtype}; expected bool")
    return found
