"""Functions that draw figures from arrays and return a matplotlib Figure; `save` writes it to disk."""

from gradmeter.report.figures.bars import bars
from gradmeter.report.figures.curves import precision_recall, risk_coverage, roc
from gradmeter.report.figures.distributions import distributions
from gradmeter.report.figures.gallery import gallery
from gradmeter.report.figures.heatmap import heatmap
from gradmeter.report.figures.reliability import reliability
from gradmeter.report.figures.saving import save, save_for_screens
from gradmeter.report.figures.stress import StressRow, stress
from gradmeter.report.figures.violins import violins

__all__ = [
    "StressRow",
    "bars",
    "distributions",
    "gallery",
    "heatmap",
    "precision_recall",
    "reliability",
    "risk_coverage",
    "roc",
    "save",
    "save_for_screens",
    "stress",
    "violins",
]
