"""Probabilities as people read them: never rounded to certainty."""

from __future__ import annotations

_SMALLEST = 0.0001


def compared(probability: float) -> str:
    """A probability with four decimals and the sign in front: "=0.9312", or "<0.0001" and ">0.9999" beyond them."""
    if probability < _SMALLEST:
        return f"<{_SMALLEST}"
    if probability > 1 - _SMALLEST:
        return f">{1 - _SMALLEST}"
    return f"={probability:.4f}"
