"""Tracing a forward pass to operations that have rules."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from gradmeter.errors import UnsupportedModelError, one_line
from gradmeter.reading.network import without_cached_biases
from gradmeter.reading.traced.forward import TracedForward

_ATEN = torch.ops.aten
FIXED_BATCH = "fixes the batch size; expected operations for any number of inputs, such as x.size(0) in place of len(x)"
"""What is wrong with a network that can be traced for one number of inputs only."""
# PyTorch's message on such a network.
_FIXED = "Constraints violated"


def traced_program(reader: TracedForward, inputs: Tensor) -> torch.export.ExportedProgram:
    """Trace the forward pass to operations that have rules.

    Raises:
        UnsupportedModelError: if PyTorch cannot trace it.
    """
    table = torch.export.default_decompositions()
    # Its parts fold the positions of a sequence into the samples.
    del table[_ATEN.linear.default]
    # It has several outputs, whose gradients arrive one by one.
    table[_ATEN.split_with_sizes.default] = _split
    # For one output it copies memory layouts, which ONNX has not.
    table[_ATEN.adaptive_avg_pool2d.default] = _pooled
    samples = torch.export.Dim("N", min=1)
    try:
        with torch.no_grad(), without_cached_biases(reader.modules()), warnings.catch_warnings():
            # PyTorch warns about its own calls.
            warnings.simplefilter("ignore")
            program = torch.export.export(reader, (inputs,), dynamic_shapes=({0: samples},), strict=False)
            decomposed: torch.export.ExportedProgram = program.run_decompositions(table)
            return decomposed
    except Exception as error:  # torch.export raises errors of many types
        if _FIXED in str(error):
            raise UnsupportedModelError(f"the network {FIXED_BATCH}") from error
        raise UnsupportedModelError(
            f"the network cannot be traced ({one_line(error)}); expected operations that torch.export can trace"
        ) from error


def _split(values: Tensor, sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
    """Split a tensor as `torch.split` does, by slices."""
    ends = list(itertools.accumulate(sizes))
    return [values.narrow(dim, end - size, size) for end, size in zip(ends, sizes, strict=True)]


def _pooled(images: Tensor, sizes: Sequence[int]) -> Tensor:
    """Pool images as `adaptive_avg_pool2d` does."""
    if all(size == 1 for size in sizes):
        return images.mean((-2, -1), keepdim=True)
    pooled: Tensor = _ATEN._adaptive_avg_pool2d(images, sizes)
    return pooled
