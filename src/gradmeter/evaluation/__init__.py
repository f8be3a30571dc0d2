"""How good an uncertainty is: separation measures, curves, and intervals over runs."""

from gradmeter.evaluation.curves import Curve, area_under_risk_coverage, precision_recall, risk_coverage, roc, thin
from gradmeter.evaluation.intervals import (
    MeanSem,
    PairedDifference,
    TwoSample,
    mean_sem,
    paired_difference,
    two_sample,
)
from gradmeter.evaluation.separation import Separation, aupr_out_at_base_rate, separation

__all__ = [
    "Curve",
    "MeanSem",
    "PairedDifference",
    "Separation",
    "TwoSample",
    "area_under_risk_coverage",
    "aupr_out_at_base_rate",
    "mean_sem",
    "paired_difference",
    "precision_recall",
    "risk_coverage",
    "roc",
    "separation",
    "thin",
    "two_sample",
]
