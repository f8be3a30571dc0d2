"""Curves over all thresholds: receiver operating characteristic, precision-recall and risk-coverage.

The axes are the usual ones; the paper's section 2 names ordinate and abscissa the other way round.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.samples import finite_sample
from gradmeter.trust.evaluation.thresholds import AcceptedCounts, accepted_counts


@dataclass(frozen=True, eq=False)
class Curve:
    """Points (x, y) of a curve, float64 [P] each, fractions in [0, 1], x not falling; and what the axes show."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_name: str
    y_name: str


def roc(inside: ArrayLike, outside: ArrayLike) -> Curve:
    """Return the ROC curve from (0, 0) to (1, 1), `outside` [M] positive, a higher score meaning more uncertain.

    Raises InputError if a sample is empty, not one-dimensional or not finite.
    """
    rejected = accepted_counts(finite_sample(inside, "inside"), finite_sample(outside, "outside")).rejected()
    return Curve(
        rejected.inside / rejected.inside[-1],
        rejected.outside / rejected.outside[-1],
        "false positive rate",
        "true positive rate",
    )


def precision_recall(inside: ArrayLike, outside: ArrayLike) -> Curve:
    """Return the precision-recall curve, `outside` [M] positive, from recall 0 (precision 1 by convention) to recall 1.

    Raises InputError if a sample is empty, not one-dimensional or not finite.
    """
    rejected = accepted_counts(finite_sample(inside, "inside"), finite_sample(outside, "outside")).rejected()
    precision = rejected.outside[1:] / (rejected.outside[1:] + rejected.inside[1:])
    return Curve(rejected.outside / rejected.outside[-1], np.concatenate([[1.0], precision]), "recall", "precision")


def risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike) -> Curve:
    """Return the selective risk (share of errors among the accepted) at every coverage (share accepted).

    `uncertainty` [N] is accepted from the lowest up, equal values together; `wrong` [N] is boolean. One point for each
    distinct uncertainty, the last at coverage 1 with the plain error rate (Geifman and El-Yaniv 2017).

    Raises InputError if the uncertainty is empty, not one-dimensional or not finite, or `wrong` is not boolean [N].
    """
    sample = finite_sample(uncertainty, "uncertainty")
    errors = np.asarray(wrong)
    if errors.dtype != np.bool_ or errors.shape != sample.shape:
        raise InputError(
            f"wrong: expected a boolean array of shape {sample.shape}, one for each uncertainty, "
            f"got {errors.dtype} of shape {errors.shape}; pass predictions != labels"
        )
    return risk_coverage_of_counts(accepted_counts(sample[~errors], sample[errors]))


def risk_coverage_of_counts(counts: AcceptedCounts) -> Curve:
    """Like `risk_coverage`, from what every threshold accepts, `inside` right and `outside` wrong."""
    accepted = counts.inside[1:] + counts.outside[1:]
    return Curve(accepted / accepted[-1], counts.outside[1:] / accepted, "coverage", "selective risk")


def area_under_risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike) -> float:
    """Return AURC: the selective risk averaged over the coverages 1/N, ..., 1 (Geifman, Uziel and El-Yaniv 2019).

    Takes and raises what `risk_coverage` does. Samples of equal uncertainty share the risk at which they are accepted.
    """
    return area_of_curve(risk_coverage(uncertainty, wrong))


def area_of_curve(curve: Curve) -> float:
    """Return AURC of a risk-coverage curve."""
    return float(np.diff(curve.x, prepend=0.0) @ curve.y)


def thin(curve: Curve, points: int) -> Curve:
    """Return at most `points` of the curve's own points, first and last included, evenly spread along its drawn length.

    For plotting: an even spread along x would lose the steep start of a ROC curve. Raises InputError if `points` < 2.
    """
    if points < 2:
        raise InputError(f"points: expected at least 2, the two ends of the curve, got {points}")
    if curve.x.size <= points:
        return curve
    steps = np.hypot(np.diff(_spread(curve.x)), np.diff(_spread(curve.y)))
    length = np.concatenate([[0.0], np.cumsum(steps)])
    kept = np.searchsorted(length, np.linspace(0.0, length[-1], points))
    kept[-1] = curve.x.size - 1
    kept = np.unique(kept)
    return Curve(curve.x[kept], curve.y[kept], curve.x_name, curve.y_name)


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    span = float(np.ptp(values))
    return values / span if span else values
