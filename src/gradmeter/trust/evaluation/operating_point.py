"""The false positive rate at a given true positive rate, in both conventions that papers use."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.samples import finite_sample
from gradmeter.trust.evaluation.thresholds import AcceptedCounts, accepted_counts

Positive = Literal["inside", "outside"]


def fpr_at_tpr(inside: ArrayLike, outside: ArrayLike, tpr: float = 0.95, *, positive: Positive = "inside") -> float:
    """Return the false positive rate at the first threshold whose true positive rate is at least `tpr`.

    Args:
        inside: [N] uncertainties of correct predictions.
        outside: [M] uncertainties of wrong or unknown ones.
        tpr: true positive rate, above 0 and at most 1.
        positive: "inside" (Hendrycks and Gimpel 2016, and most later papers): accept at least the share `tpr` of
            `inside`, and return the accepted share of `outside`. "outside" (pytorch-ood and others): reject at least
            the share `tpr` of `outside`, and return the rejected share of `inside`.

    Raises:
        InputError: if a sample is empty, not one-dimensional or not finite, or an option is invalid.
    """
    if positive not in get_args(Positive):
        raise InputError(f"positive: expected one of {get_args(Positive)}, got {positive!r}")
    if not 0 < tpr <= 1:
        raise InputError(f"tpr: expected a share above 0 and at most 1, got {tpr!r}")
    counts = accepted_counts(finite_sample(inside, "inside"), finite_sample(outside, "outside"))
    return fpr_of_counts(counts, tpr, positive=positive)


def fpr_of_counts(counts: AcceptedCounts, tpr: float = 0.95, *, positive: Positive) -> float:
    """Return `fpr_at_tpr` from counts of at least one sample inside and one outside."""
    if positive == "inside":
        hits, alarms = counts.inside, counts.outside
    else:
        rejected = counts.rejected()
        hits, alarms = rejected.outside, rejected.inside
    first = np.searchsorted(hits, tpr * hits[-1] * (1 - 1e-12))
    return float(alarms[first] / alarms[-1])
