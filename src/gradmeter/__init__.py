"""gradmeter: how much would a network have to re-learn if its prediction were true?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradmeter.errors import DataError, GradmeterError, InputError, OutputError, UnsupportedModelError

if TYPE_CHECKING:
    from gradmeter.meta.module import Trust
    from gradmeter.meta.trust import TrustModel
    from gradmeter.meter import GradientMeter
    from gradmeter.readings import Readings

__version__ = "0.1.0"

__all__ = [
    "DataError",
    "GradientMeter",
    "GradmeterError",
    "InputError",
    "OutputError",
    "Readings",
    "Trust",
    "TrustModel",
    "UnsupportedModelError",
    "__version__",
]

# PyTorch and scikit-learn take seconds to be imported: each where it is first needed.
_MODULES = {
    "GradientMeter": "gradmeter.meter",
    "Readings": "gradmeter.readings",
    "Trust": "gradmeter.meta.module",
    "TrustModel": "gradmeter.meta.trust",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
