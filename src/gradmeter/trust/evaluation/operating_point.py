"""The rate of false alarms where a given share is detected, in both conventions that papers use."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.samples import finite_sample
from gradmeter.trust.evaluation.thresholds import AcceptedCounts, accepted_counts

Positive = Literal["inside", "outside"]


def fpr_at_tpr(inside: ArrayLike, outside: ArrayLike, tpr: float = 0.95, *, positive: Positive = "inside") -> float:
    """Return the false positive rate at the threshold whose true positive rate is the first to reach `tpr`.

    A higher score means more uncertain. With `positive` "inside" (Hendrycks and Gimpel 2016, and most that followed)
    at least the share `tpr` of `inside` [N] is accepted, and the result is the share of `outside` [M] accepted with
    it. With "outside" (pytorch-ood among others) at least `tpr` of `outside` is rejected, and the result is the share
    of `inside` rejected with it.

    Raises InputError if a sample is empty, not one-dimensional or not finite, `tpr` is not above 0 and at most 1, or
    `positive` is neither of the two.
    """
    if positive not in get_args(Positive):
        raise InputError(f"positive: expected one of {get_args(Positive)}, got {positive!r}")
    if not 0 < tpr <= 1:
        raise InputError(f"tpr: expected a share above 0 and at most 1, got {tpr!r}")
    counts = accepted_counts(finite_sample(inside, "inside"), finite_sample(outside, "outside"))
    return fpr_of_counts(counts, tpr, positive=positive)


def fpr_of_counts(counts: AcceptedCounts, tpr: float = 0.95, *, positive: Positive) -> float:
    """Like `fpr_at_tpr`, from what every threshold accepts; at least one sample of either kind."""
    if positive == "inside":
        hits, alarms = counts.inside, counts.outside
    else:
        rejected = counts.rejected()
        hits, alarms = rejected.outside, rejected.inside
    first = np.searchsorted(hits, tpr * hits[-1] * (1 - 1e-12))
    return float(alarms[first] / alarms[-1])
