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
        compiles = torch.compiler.is_compiling()
        is_traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if is_traced or (compiles and not torch.compiler.is_dynamo_compiling()):
            raise UnsupportedModelError(
                "gradmeter's readings and verdicts cannot be traced by torch.jit.trace, torch.export or "
                "torch.onnx.export; use gradmeter export, which writes a network and its verdicts to an ONNX file"
            )
        if compiles:
            result: Result = torch.compiler.disable(function)(*args, **kwargs)
            return result
        return function(*args, **kwargs)

    return call
