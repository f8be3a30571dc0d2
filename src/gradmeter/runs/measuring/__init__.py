"""Measuring whole sources: batches from disk through the meter into a Parquet data set."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradmeter.runs.measuring.dataset import MeasuredSet, Skipped
from gradmeter.runs.measuring.work import Measured, Work

if TYPE_CHECKING:
    from gradmeter.runs.measuring.streaming import measure
    from gradmeter.runs.measuring.synthetic import measure_synthetic

__all__ = ["Measured", "MeasuredSet", "Skipped", "Work", "measure", "measure_synthetic"]

# Imported on first access: a judge in an ONNX file runs without PyTorch.
_MODULES = {
    "measure": "gradmeter.runs.measuring.streaming",
    "measure_synthetic": "gradmeter.runs.measuring.synthetic",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
