"""The errors a user can meet: each says what was given, what was expected and what to do."""

from typing import Any

from gradmeter.names import printable

TRACEBACK = "GRADMETER_TRACEBACK"
"""Variable of the environment: where it is not empty, commands also show where in the code an error arose."""


class GradmeterError(Exception):
    """Base of every error that gradmeter raises on purpose.

    Its message is one line: what a name or another library's message holds that is not printable is escaped.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))

    def __reduce__(self) -> tuple[Any, ...]:
        # Ray adds lines of its own before it sends an error: they must stay lines.
        return _restored, (type(self), self.args)


def _restored(kind: type[GradmeterError], args: tuple[Any, ...]) -> GradmeterError:
    error = kind.__new__(kind)
    error.args = args
    return error


class InputError(GradmeterError, ValueError):
    """A value handed to the library is not one it can work with."""


class UnsupportedModelError(GradmeterError, TypeError):
    """A network holds a parameter whose per-sample gradient cannot be measured."""


class DataError(GradmeterError, ValueError):
    """Images or labels are missing, damaged or not of the expected form."""


class OutputError(GradmeterError, OSError):
    """An output folder cannot be written or belongs to something else."""


class GradmeterWarning(UserWarning):
    """Base of every warning of gradmeter's; commands show them in one line."""


class SlowLayerWarning(GradmeterWarning):
    """A layer is measured for one sample at a time: right, and slow."""


class ProbabilitiesWarning(GradmeterWarning):
    """What a network puts out looks like probabilities, where logits are expected."""


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
