"""The errors a user can meet: each says what was given, what was expected and what to do."""


class GradmeterError(Exception):
    """Base of every error that gradmeter raises on purpose."""


class InputError(GradmeterError, ValueError):
    """A value handed to the library is not one it can work with."""


class UnsupportedModelError(GradmeterError, TypeError):
    """A network holds a parameter whose per-sample gradient cannot be measured."""


class DataError(GradmeterError, ValueError):
    """Images or labels are missing, damaged or not of the expected form."""


class OutputError(GradmeterError, OSError):
    """An output folder cannot be written or belongs to something else."""


class SlowLayerWarning(UserWarning):
    """A layer is measured for one sample at a time: right, and slow."""


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
