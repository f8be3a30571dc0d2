"""Measuring whole sources: batches from disk through the meter into a Parquet data set."""

from gradmeter.measuring.dataset import MeasuredSet, Skipped
from gradmeter.measuring.streaming import Measured, Work, measure

__all__ = ["Measured", "MeasuredSet", "Skipped", "Work", "measure"]
