"""What training programs save beside the weights: options, numbers and arrays of NumPy, paths and dates.

PyTorch refuses such objects where only tensors are loaded. Here a placeholder takes the place of each, so that neither
their classes nor any function of a file are imported or run.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Self

from torch.serialization import safe_globals

_NAMES = (
    "argparse.Namespace",  # the options of timm's and torchvision's training programs
    "types.SimpleNamespace",
    *("numpy.dtype", "numpy.ndarray"),
    *(
        f"{package}.multiarray.{name}"
        for package in ("numpy.core", "numpy._core")
        for name in ("scalar", "_reconstruct")
    ),
    *(f"{module}.{kind}Path" for module in ("pathlib", "pathlib._local") for kind in ("Posix", "Windows")),
    *("datetime.datetime", "datetime.timedelta"),
)


class Placeholder:
    """Stands for an object that is no tensor, and forgets it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Ignore the arguments of the object."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def placeholders() -> AbstractContextManager[None]:
    """Let `torch.load` with `weights_only=True` put a placeholder for each object that is no tensor."""
    manager: AbstractContextManager[None] = safe_globals([(Placeholder, name) for name in _NAMES])
    return manager
