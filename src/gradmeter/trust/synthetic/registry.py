"""The registry of kinds of synthetic unknowns."""

from __future__ import annotations

from collections.abc import Callable

from torch import Generator, Tensor

Kind = Callable[[Tensor, Tensor, Generator], Tensor]
"""A function that makes synthetic unknowns [N, C, H, W].

Its arguments are images [N, C, H, W] in [0, 1], partners [N, C, H, W] of other classes, and a random generator. The
values of its result may leave [0, 1].
"""

KINDS: dict[str, Kind] = {}
"""The kinds by name, in the order of registration; `del KINDS[name]` removes one."""


def register_unknown(name: str) -> Callable[[Kind], Kind]:
    """Register the decorated function as a kind of synthetic unknowns, from this package or from outside.

    Args:
        name: key of the kind in `KINDS`; a kind of the same name is replaced.
    """

    def register(kind: Kind) -> Kind:
        KINDS[name] = kind
        return kind

    return register
