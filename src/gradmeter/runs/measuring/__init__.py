"""Measuring whole sources: batches from disk through the meter into a Parquet data set."""

from gradmeter.runs.measuring.dataset import MeasuredSet, Skipped
from gradmeter.runs.measuring.streaming import measure
from gradmeter.runs.measuring.synthetic import measure_synthetic
from gradmeter.runs.measuring.work import Measured, Work

__all__ = ["Measured", "MeasuredSet", "Skipped", "Work", "measure", "measure_synthetic"]
