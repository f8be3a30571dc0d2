"""The compiled reduction: per-sample gradients are summed in registers and never stored.

The extension is optional. Where it was not built, `available()` is False, `reason()` says why, and the PyTorch path
serves. The environment variable GRADMETER_KERNEL chooses a kernel for an older processor than the one at hand, or
"portable" for none.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from gradmeter.errors import InputError

# Sums per sample: S1, S2, S3, S4, the sum of |g|, the smallest and the largest entry.
_SUMS = 7
_VARIABLE = "GRADMETER_KERNEL"
_PORTABLE = "portable"


def _openmp() -> tuple[int, int]:
    """Addresses of GOMP_parallel and omp_get_thread_num in the OpenMP library that torch is linked to; 0 if none is.

    Nothing is loaded for it, and other packages' copies of the library are passed over: a second pool of threads would
    spin against torch's.
    """
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"), mode=os.RTLD_NOLOAD)
        functions = library.GOMP_parallel, library.omp_get_thread_num
    except (OSError, AttributeError):
        return 0, 0
    parallel, number = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)
    return parallel, number


@cache
def _load() -> tuple[ModuleType | None, str]:
    """The extension, ready to run, or None; and what to tell about it.

    Raises:
        InputError: if the environment asks for a kernel that cannot be had.
    """
    try:
        extension = import_module("gradmeter.reading.kernels._compiled")
    except ModuleNotFoundError:
        return None, "not built when gradmeter was installed: no working C++ compiler (pip install -v tells more)"
    except ImportError as error:
        return None, f"not loaded: {error}"
    if not extension.variants():
        return None, "not usable: this processor is older than any the kernel was built for"
    name = os.environ.get(_VARIABLE)
    if name == _PORTABLE:
        return None, f"switched off by {_VARIABLE}={_PORTABLE}"
    if name:
        try:
            extension.select(name)
        except ValueError as error:
            raise InputError(f"{_VARIABLE}: {error}") from None
    parallel, number = _openmp()
    extension.use_openmp(parallel, number)
    return extension, "shares torch's OpenMP threads" if parallel else "starts threads of its own"


def available() -> bool:
    """Whether the extension was built and this processor can run it."""
    return _load()[0] is not None


def reason() -> str:
    """Which kernel is in use, or why there is none, in one line."""
    extension, note = _load()
    return note if extension is None else f"{extension.variant()} kernel, {note}"


def _loaded() -> ModuleType:
    extension, note = _load()
    if extension is None:
        raise RuntimeError(f"the compiled kernel is {note}")
    return extension


def _checked(name: str, tensor: Tensor, *types: torch.dtype) -> Tensor:
    if not tensor.is_cpu or tensor.dtype not in types:
        expected = " or ".join(str(dtype).removeprefix("torch.") for dtype in types)
        given = f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device}"
        raise TypeError(f"{name} is {given}; expected {expected} on the CPU")
    # The extension reads memory, where a number whose sign PyTorch has yet to turn still has the old one.
    return tensor.detach().resolve_neg()


def _outputs(rows: int, columns: int) -> Tensor:
    # Not on torch's default device.
    return torch.empty(rows, columns, dtype=torch.float64, device="cpu")


def correlate(
    delta: Tensor,
    activation: Tensor,
    kernel: Sequence[int],
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    groups: int = 1,
    bias: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Sums over the per-sample gradient [M, C / groups, *kernel] of a convolution's weight, which is never stored.

    Args:
        delta: [N, M, *out] float32 on the CPU, any strides; the gradient of the output.
        activation: [N, C, *in] float32 on the CPU, any strides; the input.
        kernel: size of the window along each of the 1 to 3 spatial axes; stride, dilation likewise.
        padding: zeros in front of each axis; behind it there are as many as the windows reach.
        groups: number of groups of channels.
        bias: also sum delta over its positions.

    Returns:
        [N, 7] float64: the sums of g, g^2, g^3, g^4 and |g|, the smallest and the largest entry; and [N, M] float64,
        or None without `bias`.

    Raises:
        TypeError: for another type of numbers or another device.
        ValueError: for sizes that do not fit.
    """
    samples = len(delta)
    sums = _outputs(samples, _SUMS)
    totals = _outputs(samples, delta.shape[1]) if bias else None
    _loaded().correlate(
        _checked("delta", delta, torch.float32),
        _checked("activation", activation, torch.float32),
        kernel,
        stride,
        dilation,
        padding,
        groups,
        sums,
        totals,
        torch.get_num_threads(),
    )
    return sums, totals


def reduce(values: Tensor) -> Tensor:
    """The same seven sums [N, 7] float64 of values [N, P], float32 or float64 on the CPU, any strides."""
    sums = _outputs(len(values), _SUMS)
    _loaded().reduce(_checked("values", values, torch.float32, torch.float64), sums, torch.get_num_threads())
    return sums


def channel_sums(delta: Tensor, activation: Tensor, mean: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sums over positions of delta * (activation - mean) and of delta, each [N, C] float64.

    Args:
        delta: [N, C, *positions] float32 on the CPU, any strides.
        activation: the same shape.
        mean: [C] float32; zero by default.
    """
    products = _outputs(len(delta), delta.shape[1])
    totals = torch.empty_like(products)
    _loaded().channel_sums(
        _checked("delta", delta, torch.float32),
        _checked("activation", activation, torch.float32),
        None if mean is None else _checked("mean", mean, torch.float32).contiguous(),
        products,
        totals,
        torch.get_num_threads(),
    )
    return products, totals
