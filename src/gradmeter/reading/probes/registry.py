"""The probes by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from gradmeter.errors import InputError
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.probes.dropout import mc_dropout
from gradmeter.reading.probes.odin import odin

Probe = Callable[[nn.Module, Inputs, Tensor], dict[str, Tensor]]
"""Maps a network in eval mode, inputs for N samples and their logits [N, C] to scores by name, [N] float64 each.

It is called with gradients on, and leaves the network as it was.
"""

PROBES: dict[str, Probe] = {"odin": odin(), "mc_dropout": mc_dropout()}
"""With the default settings of `gradmeter.reading.probes`."""


def named_probe(probe: str | Probe) -> Probe:
    """A probe from its name; one that is given comes back.

    Raises:
        InputError: for anything else.
    """
    if isinstance(probe, str) and probe in PROBES:
        return PROBES[probe]
    if callable(probe):
        return probe
    raise InputError(f"probe {probe!r}; expected {', '.join(PROBES)}, or a function as in gradmeter.reading.probes")
