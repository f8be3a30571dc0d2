"""The study's figures: each function draws one from arrays and returns a matplotlib Figure; save writes it to disk."""

from gradmeter.study.figures.curves import precision_recall, risk_coverage, roc
from gradmeter.study.figures.gallery import gallery
from gradmeter.study.figures.saving import save
from gradmeter.study.figures.stress import StressRow, stress
from gradmeter.study.figures.violins import violins

__all__ = ["StressRow", "gallery", "precision_recall", "risk_coverage", "roc", "save", "stress", "violins"]
