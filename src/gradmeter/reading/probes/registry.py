"""Probes by name, and the scores that they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from gradmeter.errors import InputError
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.probes.dropout import mc_dropout
from gradmeter.reading.probes.mirror import Mirror
from gradmeter.reading.probes.odin import odin

Probe = Callable[[nn.Module, Inputs, Tensor], dict[str, Tensor]]
"""Maps a network in eval mode, the inputs of N samples and their logits [N, C] to scores [N] by name.

The names must be the same for all inputs. It is called with gradients enabled, unless it has an attribute
`needs_gradients` that is False, and must not change the network.
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


def scores_of(probes: Sequence[Probe], network: nn.Module, inputs: Inputs, logits: Tensor) -> dict[str, Tensor]:
    """Call probes, and return their scores by name, [N] float64 each.

    Raises:
        InputError: if a probe does not return a dict with one number per sample for each name, or two return the same
            name.
    """
    scores = dict[str, Tensor]()
    for probe in probes:
        returned = probe(network, inputs, logits)
        if not isinstance(returned, Mapping) or not all(isinstance(name, str) for name in returned):
            raise InputError(f"a probe returned {_kind(returned)}; expected a dict of scores by name")
        for name, score in returned.items():
            if name in scores:
                raise InputError(f"two probes return the score {name!r}; expected different names")
            if not isinstance(score, Tensor) or score.shape != logits.shape[:1] or score.is_complex():
                given = f"{score.dtype} {tuple(score.shape)}" if isinstance(score, Tensor) else type(score).__name__
                raise InputError(
                    f"a probe returned the score {name!r} as {given}; expected one number per sample, a tensor of "
                    f"shape ({len(logits)},)"
                )
            scores[name] = score.detach().double()
    return scores


def _kind(returned: object) -> str:
    if not isinstance(returned, Mapping):
        return f"a {type(returned).__name__}"
    name = next(name for name in returned if not isinstance(name, str))
    return f"the name {name!r}, a {type(name).__name__}"


def join_scores(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Join the scores of parts of a batch.

    Raises:
        InputError: if they have different names.
    """
    for part in parts[1:]:
        if part.keys() != parts[0].keys():
            raise InputError(
                f"the probes return the scores {', '.join(parts[0])} of some inputs and {', '.join(part)} of others; "
                "expected the same names for all inputs"
            )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
