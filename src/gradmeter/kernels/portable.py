"""The reduction in plain PyTorch: materialise a few samples, reduce them while they are in cache, forget them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from gradmeter.statistics import PowerSums

# Bytes that a chunk of samples may take while it is materialised and reduced; about a core's share of cache.
_CHUNK_BYTES = 4 * 2**20


class PerSampleGradient(Protocol):
    """The gradient of one parameter for every sample of a batch, in whatever form is cheapest to hold."""

    @property
    def samples(self) -> int:
        """Samples in the batch."""

    @property
    def bytes_per_sample(self) -> int:
        """Memory that materialising one sample takes, workspace included."""

    def materialise(self, rows: slice) -> Tensor:
        """The gradients of some samples, [n, *parameter.shape]."""

    def closed_form(self) -> PowerSums | None:
        """The sums without materialising, where a formula gives them."""


def power_sums(contributions: Sequence[PerSampleGradient]) -> PowerSums:
    """Reduce the gradient of one parameter, which is the sum of its contributions (one per use of the parameter)."""
    if len(contributions) == 1 and (sums := contributions[0].closed_form()) is not None:
        return sums
    samples = contributions[0].samples
    chunk = max(1, _CHUNK_BYTES // max(gradient.bytes_per_sample for gradient in contributions))
    parts = []
    for start in range(0, samples, chunk):
        rows = slice(start, start + chunk)
        total = contributions[0].materialise(rows)
        for further in contributions[1:]:
            total = total + further.materialise(rows)
        parts.append(PowerSums.of(total))
    return PowerSums.concatenate(parts)
