"""Probes by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from gradmeter.errors import InputError
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.probes.dropout import mc_dropout
from gradmeter.reading.probes.mirror import Mirror
from gradmeter.reading.probes.odin import odin

Probe = Callable[[nn.Module, Inputs, Tensor], dict[str, Tensor]]
"""Maps a network in eval mode, the inputs of N samples and their logits [N, C] to scores by name, [N] float64 each.

It is called with gradients enabled, unless it has an attribute `needs_gradients` that is False, and must not change the
network.
"""

PROBES: dict[str, Probe] = {"odin": odin(), "mc_dropout": mc_dropout(), "mirror": Mirror()}
"""The probes by name, with their default settings."""


def named_probe(probe: str | Probe) -> Probe:
    """Return the probe with this name; a function is returned unchanged.

    Raises:
        InputError: if it is neither.
    """
    if isinstance(probe, str) and probe in PROBES:
        return PROBES[probe]
    if callable(probe):
        return probe
    raise InputError(f"unknown probe {probe!r}; expected one of {', '.join(PROBES)}, or a probe function")
