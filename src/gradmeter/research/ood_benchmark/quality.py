"""How well a method separates right predictions from the images of a column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradmeter.trust.evaluation.curves import area_of_curve, risk_coverage
from gradmeter.trust.evaluation.operating_point import fpr_at_tpr
from gradmeter.trust.evaluation.selective import generalised_area_of_curve
from gradmeter.trust.evaluation.separation import aupr_out_at_base_rate, separation

_BASE_RATE = 0.5


@dataclass(frozen=True)
class Quality:
    """How well a method separates right predictions from the images of a column.

    Attributes:
        auroc, aupr_out: fractions; the images of the column are the positives.
        fpr95: share of the column that is accepted if 95 % of the right predictions are.
        matched: AUPR-Out as if the column were half of all images.
        aurc: share of errors (wrong predictions and images of the column) among accepted images, averaged over all
            coverages.
        augrc: share of all images that are accepted errors, averaged over all coverages (Traub et al. 2024).
    """

    auroc: float
    aupr_out: float
    fpr95: float
    matched: float
    aurc: float
    augrc: float


def quality_of(
    known: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    unknown: NDArray[np.float64],
    *,
    pooled: bool = False,
) -> Quality:
    """Return the quality for unknown images, or for wrong predictions if there are no unknown images.

    Args:
        known: [n] scores of known images.
        wrong: [n] whether their predictions are wrong.
        unknown: [m] scores of unknown images.
        pooled: whether wrong predictions belong to the column too.
    """
    inside, outside = known[~wrong], unknown
    if pooled or not len(unknown):
        outside = np.concatenate([known[wrong], unknown])
    separated = separation(inside, outside)
    errors = np.concatenate([wrong, np.ones(len(unknown), np.bool_)])
    curve = risk_coverage(np.concatenate([known, unknown]), errors)
    return Quality(
        separated.auroc,
        separated.aupr_out,
        fpr_at_tpr(inside, outside),
        aupr_out_at_base_rate(inside, outside, _BASE_RATE),
        area_of_curve(curve),
        generalised_area_of_curve(curve),
    )
