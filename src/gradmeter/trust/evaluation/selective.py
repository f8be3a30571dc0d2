"""Measures of selective classification, from risk-coverage curves."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.curves import Curve, area_of_curve, risk_coverage


def excess_area_under_risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike) -> float:
    """Return E-AURC: AURC minus that of a perfect order, which accepts all errors last (Geifman et al. 2019).

    The best value is 0; unlike AURC, it does not grow merely because the error rate does. Arguments and errors are
    those of `risk_coverage`.
    """
    return excess_area_of_curve(risk_coverage(uncertainty, wrong), np.size(wrong))


def excess_area_of_curve(curve: Curve, samples: int) -> float:
    """Return the E-AURC of a risk-coverage curve of `samples` samples."""
    errors = round(float(curve.y[-1]) * samples)
    right = samples - errors
    # AURC of the perfect order, the mean over k of max(k - right, 0) / k; digamma(n + 1) - digamma(m + 1) is the sum of
    # 1 / k from m + 1 to n.
    best = (errors - right * float(digamma(samples + 1) - digamma(right + 1))) / samples
    return area_of_curve(curve) - best


def area_under_generalised_risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike) -> float:
    """Return AUGRC: the mean over coverages of the share of all samples that are wrong and accepted (Traub 2024).

    The share is interpolated linearly between the points of the curve, so that ties count half, and with error rate r
    AUGRC = (1 - AUROC) r (1 - r) + r^2 / 2. Arguments and errors are those of `risk_coverage`.
    """
    return generalised_area_of_curve(risk_coverage(uncertainty, wrong))


def generalised_area_of_curve(curve: Curve) -> float:
    """Return the AUGRC of a risk-coverage curve."""
    coverage = np.concatenate([[0.0], curve.x])
    return float(np.trapezoid(np.concatenate([[0.0], curve.x * curve.y]), coverage))


def risk_at_coverage(uncertainty: ArrayLike, wrong: ArrayLike, coverage: float) -> float:
    """Return the error rate of the least uncertain samples, at least the share `coverage` of all.

    Samples of equal uncertainty are accepted together. Arguments and errors are those of `risk_coverage`.

    Raises:
        InputError: also if `coverage` is not above 0 and at most 1.
    """
    if not 0 < coverage <= 1:
        raise InputError(f"coverage: expected a share above 0 and at most 1, got {coverage!r}")
    return risk_of_curve(risk_coverage(uncertainty, wrong), coverage)


def risk_of_curve(curve: Curve, coverage: float) -> float:
    """Return the risk at the first point of a risk-coverage curve with at least the given coverage."""
    # Allow for rounding: the share 0.3 of 10 samples is 3 samples.
    return float(curve.y[np.searchsorted(curve.x, coverage - 1e-12)])
