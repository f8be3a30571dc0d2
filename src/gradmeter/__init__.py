"""gradmeter: estimate from per-sample gradients how likely a classifier's prediction is to be right."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradmeter.errors import DataError, GradmeterError, InputError, OutputError, UnsupportedModelError
from gradmeter.version import __version__

if TYPE_CHECKING:
    from gradmeter.reading.meter import GradientMeter
    from gradmeter.reading.pixels import PixelMeter, PixelReadings
    from gradmeter.reading.readings import Readings
    from gradmeter.trust.model import TrustModel
    from gradmeter.trust.module import Trust

__all__ = [
    "DataError",
    "GradientMeter",
    "GradmeterError",
    "InputError",
    "OutputError",
    "PixelMeter",
    "PixelReadings",
    "Readings",
    "Trust",
    "TrustModel",
    "UnsupportedModelError",
    "__version__",
]

# PyTorch and scikit-learn take seconds to import, so each class is imported on first access.
_MODULES = {
    "GradientMeter": "gradmeter.reading.meter",
    "PixelMeter": "gradmeter.reading.pixels",
    "PixelReadings": "gradmeter.reading.pixels",
    "Readings": "gradmeter.reading.readings",
    "Trust": "gradmeter.trust.module",
    "TrustModel": "gradmeter.trust.model",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
