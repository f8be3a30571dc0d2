"""What a classifier that may abstain costs, over all coverages."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.curves import Curve, area_of_curve, risk_coverage


def excess_area_under_risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike) -> float:
    """Return E-AURC: AURC less that of an order which accepts every error last (Geifman, Uziel and El-Yaniv 2019).

    Takes and raises what `risk_coverage` does. 0 is the best; unlike AURC it does not grow with the error rate alone.
    """
    return excess_area_of_curve(risk_coverage(uncertainty, wrong), np.size(wrong))


def excess_area_of_curve(curve: Curve, samples: int) -> float:
    """Return E-AURC of a risk-coverage curve of so many samples."""
    errors = round(float(curve.y[-1]) * samples)
    right = samples - errors
    # The mean over k of max(k - right, 0) / k; digamma(n + 1) - digamma(m + 1) sums 1 / k from m + 1 to n.
    best = (errors - right * float(digamma(samples + 1) - digamma(right + 1))) / samples
    return area_of_curve(curve) - best


def area_under_generalised_risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike) -> float:
    """Return AUGRC: the share of all samples that are wrong and accepted, averaged over the coverages (Traub 2024).

    Takes and raises what `risk_coverage` does. Between the points of the curve the share grows linearly, so that equal
    uncertainties count half, and with error rate r AUGRC = (1 - AUROC) r (1 - r) + r^2 / 2.
    """
    return generalised_area_of_curve(risk_coverage(uncertainty, wrong))


def generalised_area_of_curve(curve: Curve) -> float:
    """Return AUGRC of a risk-coverage curve."""
    coverage = np.concatenate([[0.0], curve.x])
    return float(np.trapezoid(np.concatenate([[0.0], curve.x * curve.y]), coverage))


def risk_at_coverage(uncertainty: ArrayLike, wrong: ArrayLike, coverage: float) -> float:
    """Return the share of errors among the least uncertain samples, at least the share `coverage` of all.

    Equal uncertainties are accepted together. Takes and raises what `risk_coverage` does, and raises InputError if
    `coverage` is not above 0 and at most 1.
    """
    if not 0 < coverage <= 1:
        raise InputError(f"coverage: expected a share above 0 and at most 1, got {coverage!r}")
    return risk_of_curve(risk_coverage(uncertainty, wrong), coverage)


def risk_of_curve(curve: Curve, coverage: float) -> float:
    """Return the risk of a risk-coverage curve where it first reaches a coverage."""
    # A share of 0.3 of 10 samples is 3 of them, whatever 3 / 10 is in binary.
    return float(curve.y[np.searchsorted(curve.x, coverage - 1e-12)])
