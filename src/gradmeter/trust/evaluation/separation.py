"""AUROC, AUPR-In and AUPR-Out of an uncertainty, for correct against wrong or unknown predictions."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.samples import finite_sample
from gradmeter.trust.evaluation.thresholds import AcceptedCounts, accepted_counts

Interpolation = Literal["step", "trapezoid"]


@dataclass(frozen=True)
class Separation:
    """The three threshold-free measures in section 2 of the paper, as fractions in [0, 1]."""

    auroc: float
    aupr_in: float
    aupr_out: float


def separation(inside: ArrayLike, outside: ArrayLike, *, aupr: Interpolation = "step") -> Separation:
    """Return how well an uncertainty separates correct predictions from wrong or unknown ones.

    `outside` is the positive class of AUROC and AUPR-Out. `inside` is the positive class of AUPR-In, with the negated
    uncertainty (Oberdiek et al. 2018, section 2, after Hendrycks and Gimpel 2016). Ties count as in scikit-learn: half
    for AUROC, one common threshold for AUPR.

    Args:
        inside: [N] uncertainties of correct predictions.
        outside: [M] uncertainties of wrong or unknown ones.
        aupr: "step" (average precision) or "trapezoid" (linear between the points of the precision-recall curve, which
            starts at recall 0 with precision 1).

    Raises:
        InputError: if a sample is empty, not one-dimensional or not finite, or `aupr` is invalid.
    """
    if aupr not in get_args(Interpolation):
        raise InputError(f"aupr: expected one of {get_args(Interpolation)}, got {aupr!r}")
    return separation_of_counts(
        accepted_counts(finite_sample(inside, "inside"), finite_sample(outside, "outside")), aupr=aupr
    )


def separation_of_counts(accepted: AcceptedCounts, *, aupr: Interpolation = "step") -> Separation:
    """Return `separation` from counts of at least one sample inside and one outside."""
    rejected = accepted.rejected()
    pairs = float(accepted.inside[-1]) * float(accepted.outside[-1])
    return Separation(
        auroc=float(np.trapezoid(accepted.inside, accepted.outside)) / pairs,
        aupr_in=_area_under_precision_recall(accepted.inside, accepted.outside, aupr),
        aupr_out=_area_under_precision_recall(rejected.outside, rejected.inside, aupr),
    )


def aupr_out_at_base_rate(inside: ArrayLike, outside: ArrayLike, base_rate: float) -> float:
    """Return the AUPR-Out (average precision) if `outside` were the share `base_rate` of all samples, as a fraction.

    Precision depends on the share of positive samples, so AUPR-Out of two data sets is comparable only at the same base
    rate. All samples in `inside` are weighted by one factor; the two score distributions do not change.

    Args:
        inside: [N] uncertainties of correct predictions.
        outside: [M] uncertainties of wrong or unknown ones.
        base_rate: share of `outside`, strictly between 0 and 1.

    Raises:
        InputError: as `separation`, or if `base_rate` is invalid.
    """
    if not 0 < base_rate < 1:
        raise InputError(f"base_rate: expected a share strictly between 0 and 1, got {base_rate!r}")
    rejected = accepted_counts(finite_sample(inside, "inside"), finite_sample(outside, "outside")).rejected()
    weight = float(rejected.outside[-1] / rejected.inside[-1]) * (1 - base_rate) / base_rate
    return _area_under_precision_recall(rejected.outside, weight * rejected.inside, "step")


def _area_under_precision_recall(
    positives: NDArray[np.int64], negatives: NDArray[np.int64 | np.floating[Any]], interpolation: Interpolation
) -> float:
    recall = positives / positives[-1]
    precision = positives[1:] / (positives[1:] + negatives[1:])
    if interpolation == "step":
        return float(np.diff(recall) @ precision)
    return float(np.trapezoid(np.concatenate([[1.0], precision]), recall))
