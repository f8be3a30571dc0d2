"""Concepts (named sets of images), their data sources, and the draw of each run."""

from gradmeter.research.study.data.collection import Collection, Draw, Sizes
from gradmeter.research.study.data.concept import Concept
from gradmeter.research.study.data.sources import load

__all__ = ["Collection", "Concept", "Draw", "Sizes", "load"]
