"""Probabilities as text, never rounded to 0 or 1."""

from __future__ import annotations

from collections.abc import Sequence

PERCENT = "\N{NO-BREAK SPACE}%"
"""A percent sign after a no-break space."""

_SMALLEST = 0.0001
# The most digits of a float.
_DIGITS = 17


def compared(probability: float) -> str:
    """A probability with four decimals and a relation sign, such as "=0.9312", "<0.0001" or ">0.9999"."""
    if probability < _SMALLEST:
        return f"<{_SMALLEST}"
    if probability > 1 - _SMALLEST:
        return f">{1 - _SMALLEST}"
    return f"={probability:.4f}"


def percent(share: float, decimals: int) -> str:
    """A share in percent; gets more decimals if it would otherwise be rounded to 0 or 100."""
    texts = [f"{100 * share:.{more}f}" for more in range(decimals, _DIGITS)]
    return texts[0] if share in (0, 1) else _first_uncertain(texts, 100)


def significant(probability: float, digits: int) -> str:
    """A probability with a number of significant digits; gets more digits if it would otherwise be rounded to 1."""
    texts = [f"{probability:.{more}g}" for more in range(digits, _DIGITS)]
    return texts[0] if probability in (0, 1) else _first_uncertain(texts, 1)


def _first_uncertain(texts: Sequence[str], certainty: float) -> str:
    return next((text for text in texts if 0 < float(text) < certainty), texts[-1])
