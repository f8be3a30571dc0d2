"""The error that names samples with non-finite logits or gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradmeter.errors import InputError
from gradmeter.names import listed

_MAX_LISTED_ROWS = 5


class NotFinite(InputError):
    """The logits or gradients of some samples are not finite.

    Attributes:
        rows: indices of these samples in the batch.
        has_logits: whether their logits are finite and only the gradients are not.
    """

    def __init__(self, message: str, rows: Sequence[int] = (), *, has_logits: bool = False) -> None:
        super().__init__(message)
        self.rows, self.has_logits = rows, has_logits

    @classmethod
    def of(cls, rows: Sequence[int], samples: int, *, has_logits: bool = False) -> NotFinite:
        """The error for these rows of a batch of `samples` samples."""
        subject = "gradient is" if has_logits else "logits are"
        return cls(
            f"the network's {subject} not finite for {len(rows)} of {samples} samples (index "
            f"{listed(rows, _MAX_LISTED_ROWS)}); expected finite numbers: check the input and the weights",
            rows,
            has_logits=has_logits,
        )


def not_finite(logits: Tensor) -> list[int]:
    """Indices of the rows of logits [N, C] that contain NaN or infinity."""
    finite = torch.isfinite(logits.detach())
    if finite.all():
        return []
    rows: list[int] = (~finite.all(dim=1)).nonzero().flatten().tolist()
    return rows
