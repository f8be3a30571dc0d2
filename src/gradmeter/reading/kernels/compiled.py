"""The compiled reduction, which sums per-sample gradients in registers without storing them.

The extension is optional. If it was not built, `available()` is False, `reason()` says why, and the reduction runs in
PyTorch. The environment variable GRADMETER_KERNEL selects a kernel for an older processor, or "portable" for none.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.errors import InputError

# Numbers per sample: the sums of g, g^2, g^3, g^4 and |g|, the minimum and the maximum.
_SUMS = 7
_VARIABLE = "GRADMETER_KERNEL"
_PORTABLE = "portable"


def _openmp() -> tuple[int, int]:
    """Addresses of GOMP_parallel and omp_get_thread_num in the OpenMP library that torch is linked to; 0 without one.

    This loads no library and ignores the copies of other packages, because a second thread pool would compete with
    torch's for the cores.
    """
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"), mode=os.RTLD_NOLOAD)
        functions = library.GOMP_parallel, library.omp_get_thread_num
    except (OSError, AttributeError):
        return 0, 0
    parallel, thread_number = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)
    return parallel, thread_number


@cache
def _load() -> tuple[ModuleType | None, str]:
    """The initialised extension, or None, and a note that describes it.

    Raises:
        InputError: if GRADMETER_KERNEL names an unknown or unsupported kernel.
    """
    try:
        extension = import_module("gradmeter.reading.kernels._compiled")
    except ModuleNotFoundError:
        return None, "not built when gradmeter was installed: no working C++ compiler (pip install -v shows details)"
    except ImportError as error:
        return None, f"not loaded: {error}"
    if not extension.variants():
        return None, "not usable: built for newer processors than this one"
    name = os.environ.get(_VARIABLE)
    if name == _PORTABLE:
        return None, f"disabled by {_VARIABLE}={_PORTABLE}"
    if name:
        try:
            extension.select(name)
        except ValueError as error:
            raise InputError(f"{_VARIABLE}: {error}") from None
    parallel, thread_number = _openmp()
    extension.use_openmp(parallel, thread_number)
    return extension, "shares torch's OpenMP threads" if parallel else "starts its own threads"


def available() -> bool:
    """Whether the extension was built, supports this processor and is not disabled."""
    return _load()[0] is not None


def reason() -> str:
    """One line that names the kernel in use, or says why there is none."""
    extension, note = _load()
    return note if extension is None else f"{extension.variant()} kernel, {note}"


def _loaded() -> ModuleType:
    extension, note = _load()
    if extension is None:
        raise RuntimeError(f"the compiled kernel is {note}")
    return extension


def _checked(name: str, tensor: Tensor, *types: torch.dtype) -> NDArray[Any]:
    """Return a tensor as an array, because the extension takes three times as long to convert tensors."""
    if not tensor.is_cpu or tensor.dtype not in types:
        expected = " or ".join(str(dtype).removeprefix("torch.") for dtype in types)
        given = f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device}"
        raise TypeError(f"{name} is {given}; expected {expected} on the CPU")
    # The extension reads memory, and PyTorch may negate lazily.
    array: NDArray[Any] = tensor.detach().resolve_neg().numpy()
    return array


def _outputs(rows: int, columns: int) -> Tensor:
    # Explicitly on the CPU, because torch's default device may be another one.
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
    """Sums over the per-sample gradients [M, C / groups, *kernel] of a convolution's weight, which are not stored.

    Args:
        delta: [N, M, *out] float32 on the CPU, any strides; the gradient of the output.
        activation: [N, C, *in] float32 on the CPU, any strides; the input.
        kernel: size of the window along each of the 1 to 3 spatial axes.
        stride: distance between windows along each axis.
        dilation: distance between taps along each axis.
        padding: zeros before the input along each axis; as many as needed follow it.
        groups: number of channel groups.
        bias: also sum delta over its positions.

    Returns:
        [N, 7] float64: the sums of g, g^2, g^3, g^4 and |g|, the minimum and the maximum; and [N, M] float64 with
        `bias`, else None.

    Raises:
        TypeError: if a tensor has another dtype or is on another device.
        ValueError: if the sizes do not match.
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
        sums.numpy(),
        None if totals is None else totals.numpy(),
        torch.get_num_threads(),
    )
    return sums, totals


def reduce(values: Tensor) -> Tensor:
    """The same numbers [N, 7] float64 for values [N, ...], float32 or float64 on the CPU, any strides."""
    sums = _outputs(len(values), _SUMS)
    array = _checked("values", values, torch.float32, torch.float64)
    _loaded().reduce(array, sums.numpy(), torch.get_num_threads())
    return sums


def reduce_output(values: Tensor, sums: NDArray[np.float64]) -> None:
    """Write the same numbers of values [N, ...], and the number of values above 0, to contiguous `sums` [N, 8].

    It does no more than necessary, because it runs once per layer.
    """
    if values.requires_grad or values.is_neg():
        values = values.detach().resolve_neg()
    _loaded().reduce(values.numpy(), sums, torch.get_num_threads(), True)


def channel_sums(delta: Tensor, activation: Tensor, mean: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sums of delta * (activation - mean) and of delta over positions, each [N, C] float64.

    Args:
        delta: [N, C, *positions] float32 on the CPU, any strides.
        activation: tensor like delta.
        mean: [C] float32; zero by default.
    """
    products = _outputs(len(delta), delta.shape[1])
    totals = torch.empty_like(products)
    _loaded().channel_sums(
        _checked("delta", delta, torch.float32),
        _checked("activation", activation, torch.float32),
        None if mean is None else _checked("mean", mean.contiguous(), torch.float32),
        products.numpy(),
        totals.numpy(),
        torch.get_num_threads(),
    )
    return products, totals
