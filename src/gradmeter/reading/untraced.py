"""Functions that run as they are, also in one that PyTorch compiles, and that it cannot trace or export."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from gradmeter.errors import UnsupportedModelError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def untraced(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Leave a function out of what torch.compile compiles: it takes networks apart, which the compiler would hide.

    Raises:
        UnsupportedModelError: by the function, if torch.jit.trace or torch.export traces it. A traced copy would return
            the numbers of the inputs that it was traced with.
    """

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if torch.compiler.is_dynamo_compiling():
            result: Result = torch.compiler.disable(function)(*args, **kwargs)
            return result
        # Says so in all threads while one exports; only that one has a dispatch mode.
        exports = torch.compiler.is_compiling() and torch._C._len_torch_dispatch_stack() > 0
        if exports or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            raise UnsupportedModelError(
                "gradmeter's readings and verdicts cannot be traced by torch.jit.trace or torch.export; use gradmeter "
                "export, which writes a network and its verdicts to an ONNX file"
            )
        return function(*args, **kwargs)

    return call
