"""What a classifier that may abstain costs, over all coverages."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from gradmeter.errors import InputError
from gradmeter.evaluation.curves import area_under_risk_coverage, risk_coverage


def excess_area_under_risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike) -> float:
    """Return E-AURC: AURC less that of an order which accepts every error last (Geifman, Uziel and El-Yaniv 2019).

    Takes and raises what `risk_coverage` does. 0 is the best; unlike AURC it does not grow with the error rate alone.
    """
    area = area_under_risk_coverage(uncertainty, wrong)
    errors = np.asarray(wrong, dtype=np.bool_)
    accepted = np.arange(1, errors.size + 1)
    best = np.maximum(accepted - (errors.size - np.count_nonzero(errors)), 0) / accepted
    return area - float(best.mean())


def area_under_generalised_risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike) -> float:
    """Return AUGRC: the share of all samples that are wrong and accepted, averaged over the coverages (Traub 2024).

    Takes and raises what `risk_coverage` does. Between the points of the curve the share grows linearly, so that equal
    uncertainties count half, and with error rate r AUGRC = (1 - AUROC) r (1 - r) + r^2 / 2.
    """
    curve = risk_coverage(uncertainty, wrong)
    coverage = np.concatenate([[0.0], curve.x])
    return float(np.trapezoid(np.concatenate([[0.0], curve.x * curve.y]), coverage))


def risk_at_coverage(uncertainty: ArrayLike, wrong: ArrayLike, coverage: float) -> float:
    """Return the share of errors among the least uncertain samples, at least the share `coverage` of all.

    Equal uncertainties are accepted together. Takes and raises what `risk_coverage` does, and raises InputError if
    `coverage` is not above 0 and at most 1.
    """
    if not 0 < coverage <= 1:
        raise InputError(f"coverage: expected a share above 0 and at most 1, got {coverage!r}")
    curve = risk_coverage(uncertainty, wrong)
    # A share of 0.3 of 10 samples is 3 of them, whatever 3 / 10 is in binary.
    return float(curve.y[np.searchsorted(curve.x, coverage - 1e-12)])
