"""Evaluation of uncertainties: separation measures, curves, calibration, and confidence intervals."""

from gradmeter.trust.evaluation.calibration import (
    Reliability,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from gradmeter.trust.evaluation.comparison import MEASURES, Comparison, Judged, Measure, compare
from gradmeter.trust.evaluation.curves import (
    Curve,
    area_under_risk_coverage,
    precision_recall,
    risk_coverage,
    roc,
    thin,
)
from gradmeter.trust.evaluation.intervals import (
    MeanSem,
    PairedDifference,
    TwoSample,
    mean_sem,
    paired_difference,
    two_sample,
)
from gradmeter.trust.evaluation.operating_point import fpr_at_tpr
from gradmeter.trust.evaluation.resampling import Interval, bootstrap
from gradmeter.trust.evaluation.selective import (
    area_under_generalised_risk_coverage,
    excess_area_under_risk_coverage,
    risk_at_coverage,
)
from gradmeter.trust.evaluation.separation import Separation, aupr_out_at_base_rate, separation

__all__ = [
    "MEASURES",
    "Comparison",
    "Curve",
    "Interval",
    "Judged",
    "MeanSem",
    "Measure",
    "PairedDifference",
    "Reliability",
    "Separation",
    "TwoSample",
    "area_under_generalised_risk_coverage",
    "area_under_risk_coverage",
    "aupr_out_at_base_rate",
    "bootstrap",
    "brier_score",
    "compare",
    "excess_area_under_risk_coverage",
    "expected_calibration_error",
    "fpr_at_tpr",
    "mean_sem",
    "negative_log_likelihood",
    "paired_difference",
    "precision_recall",
    "reliability",
    "risk_at_coverage",
    "risk_coverage",
    "roc",
    "separation",
    "thin",
    "two_sample",
]
