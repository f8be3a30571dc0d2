"""The reason of a verdict as text, and its parts."""

from __future__ import annotations

from collections.abc import Sequence

DOUBTFUL, UNFAMILIAR = "doubtful", "unfamiliar"
_BEFORE_LAYERS, _BETWEEN_LAYERS = ": ", ", "


def unfamiliar_in(layers: Sequence[str]) -> str:
    """Return the reason for an input that is unfamiliar in some layers, if any are named."""
    return f"{UNFAMILIAR}{_BEFORE_LAYERS}{_BETWEEN_LAYERS.join(layers)}" if layers else UNFAMILIAR


def split_reason(reason: str) -> tuple[str, tuple[str, ...]]:
    """Return the kind of a reason, `DOUBTFUL` or `UNFAMILIAR`, and its layers."""
    kind, _, layers = reason.partition(_BEFORE_LAYERS)
    return kind, tuple(layers.split(_BETWEEN_LAYERS)) if layers else ()
