"""Measuring whole sources: batches from disk through the meter into a Parquet data set."""

from gradmeter.measuring.dataset import MeasuredSet, Skipped
from gradmeter.measuring.streaming import measure
from gradmeter.measuring.synthetic import measure_synthetic
from gradmeter.measuring.work import Measured, Work

__all__ = ["Measured", "MeasuredSet", "Skipped", "Work", "measure", "measure_synthetic"]
