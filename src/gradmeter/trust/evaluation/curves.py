"""Curves over all thresholds: receiver operating characteristic, precision-recall and risk-coverage.

The axes are the usual ones; section 2 of the paper swaps the names of ordinate and abscissa.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.samples import finite_sample
from gradmeter.trust.evaluation.thresholds import AcceptedCounts, accepted_counts


@dataclass(frozen=True, eq=False)
class Curve:
    """The points of a curve, as fractions in [0, 1].

    Attributes:
        x: [P] abscissas, not decreasing.
        y: [P] ordinates.
        x_name: name of the x axis.
        y_name: name of the y axis.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_name: str
    y_name: str


def roc(inside: ArrayLike, outside: ArrayLike) -> Curve:
    """Return the ROC curve from (0, 0) to (1, 1).

    Args:
        inside: [N] uncertainties of the negative samples (correct predictions).
        outside: [M] uncertainties of the positive samples (wrong or unknown).

    Raises:
        InputError: if a sample is empty, not one-dimensional or not finite.
    """
    rejected = accepted_counts(finite_sample(inside, "inside"), finite_sample(outside, "outside")).rejected()
    return Curve(
        rejected.inside / rejected.inside[-1],
        rejected.outside / rejected.outside[-1],
        "false positive rate",
        "true positive rate",
    )


def precision_recall(inside: ArrayLike, outside: ArrayLike) -> Curve:
    """Return the precision-recall curve, from recall 0 (with precision 1 by convention) to recall 1.

    Arguments and errors are those of `roc`.
    """
    rejected = accepted_counts(finite_sample(inside, "inside"), finite_sample(outside, "outside")).rejected()
    precision = rejected.outside[1:] / (rejected.outside[1:] + rejected.inside[1:])
    return Curve(rejected.outside / rejected.outside[-1], np.concatenate([[1.0], precision]), "recall", "precision")


def risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike) -> Curve:
    """Return the selective risk (error rate of the accepted samples) by coverage (share of accepted samples).

    Samples are accepted in order of increasing uncertainty, equal ones together. The curve has one point for each
    distinct uncertainty; the last has coverage 1 and the error rate of all samples (Geifman and El-Yaniv 2017).

    Args:
        uncertainty: [N].
        wrong: [N] bool.

    Raises:
        InputError: if the uncertainty is empty, not one-dimensional or not finite, or `wrong` is not boolean [N].
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
    """Return the curve of `risk_coverage` from counts of right (`inside`) and wrong (`outside`) samples."""
    accepted = counts.inside[1:] + counts.outside[1:]
    return Curve(accepted / accepted[-1], counts.outside[1:] / accepted, "coverage", "selective risk")


def area_under_risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike) -> float:
    """Return AURC: the mean selective risk over the coverages 1/N, ..., 1 (Geifman, Uziel and El-Yaniv 2019).

    Samples of equal uncertainty count with the risk after all of them are accepted. Arguments and errors are those of
    `risk_coverage`.
    """
    return area_of_curve(risk_coverage(uncertainty, wrong))


def area_of_curve(curve: Curve) -> float:
    """Return the AURC of a risk-coverage curve."""
    return float(np.diff(curve.x, prepend=0.0) @ curve.y)


def thin(curve: Curve, points: int) -> Curve:
    """Return at most `points` points of the curve, for plotting, including the first and the last.

    They are evenly spaced along the drawn curve: even spacing along x would lose the steep start of a ROC curve.

    Raises:
        InputError: if `points` is less than 2.
    """
    if points < 2:
        raise InputError(f"points: expected at least 2, for the two ends of the curve, got {points}")
    if curve.x.size <= points:
        return curve
    steps = np.hypot(np.diff(_scaled(curve.x)), np.diff(_scaled(curve.y)))
    length = np.concatenate([[0.0], np.cumsum(steps)])
    kept = np.searchsorted(length, np.linspace(0.0, length[-1], points))
    kept[-1] = curve.x.size - 1
    kept = np.unique(kept)
    return Curve(curve.x[kept], curve.y[kept], curve.x_name, curve.y_name)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale values to a range of 1, as a plot does; constant values stay."""
    span = float(np.ptp(values))
    return values / span if span else values
