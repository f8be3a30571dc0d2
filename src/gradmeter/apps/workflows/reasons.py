"""The parts of the reason of a verdict."""

from __future__ import annotations

DOUBTFUL, UNFAMILIAR = "doubtful", "unfamiliar"


def split_reason(reason: str) -> tuple[str, tuple[str, ...]]:
    """Return the kind of a reason of `TrustModel.verdicts`, `DOUBTFUL` or `UNFAMILIAR`, and its layers."""
    kind, _, layers = reason.partition(": ")
    return kind, tuple(layers.split(", ")) if layers else ()
