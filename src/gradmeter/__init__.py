"""gradmeter: how much would a network have to re-learn if its prediction were true?"""

from gradmeter.errors import DataError, GradmeterError, InputError, OutputError, UnsupportedModelError
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
