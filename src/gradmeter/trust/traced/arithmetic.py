"""Functions of float64 tensors, from operations for which ONNX runtimes have float64 kernels."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def constant(values: NDArray[np.generic] | float) -> Tensor:
    """Return fitted numbers, float64 or integers, as a tensor."""
    return torch.tensor(np.asarray(values))


def exact(number: float) -> Tensor:
    """Return a number as a tensor of float64: PyTorch's exporter rounds Python's numbers to float32."""
    return torch.tensor(number, dtype=torch.float64)


def asinh(x: Tensor) -> Tensor:
    """Return the inverse hyperbolic sine."""
    size = x.abs()
    return torch.sign(x) * torch.log(size + (size * size + 1).sqrt())


def log_above(x: Tensor, least: float) -> Tensor:
    """Return log(x + least) for x >= 0.

    There is no sum of x and a small number, because onnxruntime omits the addition of what is 0 in float32.
    """
    return (x / exact(least) + 1).log() + exact(math.log(least))


def log1p(x: Tensor) -> Tensor:
    """Return log(1 + x) for x >= 0, also where 1 + x rounds to 1 (Kahan)."""
    rounded = 1 + x
    exact = rounded == 1
    return torch.where(exact, x, rounded.log() * x / torch.where(exact, 1.0, rounded - 1))


def logsumexp(x: Tensor) -> Tensor:
    """Return log(sum(exp(x))) over the last axis; entries may be minus infinity, but not all of them."""
    largest = x.amax(-1, keepdim=True)
    return (x - largest).exp().sum(-1).log() + largest.squeeze(-1)


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x))."""
    return x.clamp(min=0) + log1p((-x.abs()).exp())
