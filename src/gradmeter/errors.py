"""Errors and warnings of gradmeter. An error says what was given, what was expected and what to do."""

import re
import sys
import warnings
from typing import Any

from gradmeter.names import printable

TRACEBACK = "GRADMETER_TRACEBACK"
"""Environment variable. If it is not empty, commands show the traceback of an error."""

NOT_MAPPED = "failed to map segment from shared object"
"""glibc says this of a library for which there is too little memory, or that lies on a disk mounted with noexec."""

NO_THREAD = "can't start new thread"
"""Python says this at the limit of processes, or where there is too little memory."""

_PACKAGES = ("gradmeter", "torch")
# Errors of PyTorch for a CPU and for a GPU, of oneDNN and of glibc, when memory runs out.
_NO_MEMORY = re.compile(
    rf"can't allocate memory|not enough memory|out of memory|could not create a primitive$|{NOT_MAPPED}"
)


class GradmeterError(Exception):
    """Base class of all errors that gradmeter raises on purpose.

    The message is one line. Unprintable characters, for example from a file name or another library, are escaped.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))

    def __reduce__(self) -> tuple[Any, ...]:
        # Ray appends lines to the message before it pickles the error. `__init__` would escape their line breaks.
        return _restore, (type(self), self.args)


def _restore(kind: type[GradmeterError], args: tuple[Any, ...]) -> GradmeterError:
    error = kind.__new__(kind)
    error.args = args
    return error


class InputError(GradmeterError, ValueError):
    """An argument has an invalid value."""


class UnsupportedModelError(GradmeterError, TypeError):
    """A network has a parameter whose per-sample gradient cannot be measured."""


class DataError(GradmeterError, ValueError):
    """Input data are missing, damaged or in an unexpected format."""


class OutputError(GradmeterError, OSError):
    """An output cannot be written, or its folder holds something else."""


class GradmeterWarning(UserWarning):
    """Base class of all warnings of gradmeter; commands show each in one line."""


class SlowLayerWarning(GradmeterWarning):
    """A layer is measured one sample at a time: the result is exact, but slow to compute."""


class PaddingWarning(GradmeterWarning):
    """Logits, or outputs of layers that are read at padded positions, make a verdict depend on the padding."""


class ProbabilitiesWarning(GradmeterWarning):
    """The outputs of a network look like probabilities; logits were expected."""


def warn(message: str, category: type[Warning] = GradmeterWarning) -> None:
    """Issue a warning at the line, outside gradmeter and PyTorch, from which they were called."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def one_line(error: BaseException) -> str:
    """The message of an error in one line, or the error's type if it has no message."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, also for loading a library."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError) and _NO_MEMORY.search(str(error)) is not None
    )
