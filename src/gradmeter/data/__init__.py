"""Concepts: named sets of images, where they come from, and the draw of each run."""

from gradmeter.data.collection import Collection, Draw, Sizes
from gradmeter.data.concept import Concept
from gradmeter.data.sources import load

__all__ = ["Collection", "Concept", "Draw", "Sizes", "load"]
