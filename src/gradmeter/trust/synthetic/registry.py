"""The kinds of synthetic unknowns, by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Generator, Tensor

Kind = Callable[[Tensor, Tensor, Generator], Tensor]
"""Maps images [N, C, H, W] in [0, 1], as many images of other classes, and a source of random numbers to unknowns.

They have the shape of the images and need not be in [0, 1].
"""

KINDS: dict[str, Kind] = {}
"""By name, in the order in which they were registered."""


def register_unknown(name: str) -> Callable[[Kind], Kind]:
    """Register a kind of synthetic unknowns."""

    def register(kind: Kind) -> Kind:
        KINDS[name] = kind
        return kind

    return register
