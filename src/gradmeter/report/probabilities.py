"""Probabilities as people read them: never rounded to certainty."""

from __future__ import annotations

from collections.abc import Sequence

PERCENT = "\N{NO-BREAK SPACE}%"
"""A percent sign that stays on the line of its number."""

_SMALLEST = 0.0001
# More a float does not hold.
_DIGITS = 17


def compared(probability: float) -> str:
    """A probability with four decimals and the sign in front: "=0.9312", or "<0.0001" and ">0.9999" beyond them."""
    if probability < _SMALLEST:
        return f"<{_SMALLEST}"
    if probability > 1 - _SMALLEST:
        return f">{1 - _SMALLEST}"
    return f"={probability:.4f}"


def percent(share: float, decimals: int) -> str:
    """A share in percent, with as many more decimals as it takes not to read as 0 or 100 where it is neither."""
    texts = [f"{100 * share:.{more}f}" for more in range(decimals, _DIGITS)]
    return texts[0] if share in (0, 1) else _first_uncertain(texts, 100)


def significant(probability: float, digits: int) -> str:
    """A probability with so many digits, or with as many more as it takes not to read as 1 where it is less."""
    texts = [f"{probability:.{more}g}" for more in range(digits, _DIGITS)]
    return texts[0] if probability in (0, 1) else _first_uncertain(texts, 1)


def _first_uncertain(texts: Sequence[str], certainty: float) -> str:
    return next((text for text in texts if 0 < float(text) < certainty), texts[-1])
