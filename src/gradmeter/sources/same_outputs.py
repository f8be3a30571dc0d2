"""Whether a network's outputs for the same inputs are those of an earlier run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

# Of the largest output. Half precision and the TensorFloat-32 of GPUs change outputs by about 1 % at most.
_TOLERANCE = 0.02
# Significant digits of outputs that are kept.
_DIGITS = 6


def excerpt(outputs: Tensor, most: int) -> list[list[float]]:
    """Return at most so many columns of outputs [R, K], evenly spaced, as rounded numbers to keep."""
    width = outputs.shape[1]
    columns = np.linspace(0, width - 1, min(most, width)).round().astype(int)
    return [[float(f"{value:.{_DIGITS}g}") for value in row] for row in outputs[:, columns].double().tolist()]


def are_close(outputs: Sequence[Sequence[float]], saved: Sequence[Sequence[float]]) -> bool:
    """Whether outputs are close to saved ones of the same shape."""
    if [*map(len, outputs)] != [*map(len, saved)] or not any(map(len, saved)):
        return False
    pairs = [pair for row, saved_row in zip(outputs, saved, strict=True) for pair in zip(row, saved_row, strict=True)]
    return max(abs(now - before) for now, before in pairs) <= _TOLERANCE * max(abs(before) for _, before in pairs)
