"""Measure a segmentation network: statistics of the gradient of every pixel's prediction in the last layers."""

from gradmeter.reading.pixels.meter import PixelMeter
from gradmeter.reading.pixels.readings import PixelReadings

__all__ = ["PixelMeter", "PixelReadings"]
