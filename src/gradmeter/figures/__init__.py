"""Figures: each function draws one from arrays and returns a matplotlib Figure; save writes it to disk."""

from gradmeter.figures.bars import bars
from gradmeter.figures.curves import precision_recall, risk_coverage, roc
from gradmeter.figures.distributions import distributions
from gradmeter.figures.gallery import gallery
from gradmeter.figures.reliability import reliability
from gradmeter.figures.saving import save, save_for_screens
from gradmeter.figures.stress import StressRow, stress
from gradmeter.figures.violins import violins

__all__ = [
    "StressRow",
    "bars",
    "distributions",
    "gallery",
    "precision_recall",
    "reliability",
    "risk_coverage",
    "roc",
    "save",
    "save_for_screens",
    "stress",
    "violins",
]
