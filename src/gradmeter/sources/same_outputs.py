"""Whether a network's outputs for the same inputs are those of an earlier run."""

from __future__ import annotations

from collections.abc import Sequence

# Of the largest output: other machines and versions compute others.
_TOLERANCE = 0.1


def are_close(outputs: Sequence[Sequence[float]], saved: Sequence[Sequence[float]]) -> bool:
    """Whether outputs are close to saved ones of the same shape."""
    if [*map(len, outputs)] != [*map(len, saved)] or not any(map(len, saved)):
        return False
    pairs = [pair for row, saved_row in zip(outputs, saved, strict=True) for pair in zip(row, saved_row, strict=True)]
    return max(abs(now - before) for now, before in pairs) <= _TOLERANCE * max(abs(before) for _, before in pairs)
