"""Batches of arrays that go to a network as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gradmeter.sources.models.weights import dtype_name
from gradmeter.sources.samples import ArrayKind, Arrays


@dataclass(frozen=True)
class ArrayBatch:
    """Stacks samples to a tensor, or to a tensor for each named argument of the network.

    Attributes:
        names: the names of the arguments; "" alone for the positional one.
        floats: the type of the network's weights, which floats get, such as "float32". Integers become int64, as
            embeddings take them.
    """

    names: tuple[str, ...]
    floats: str

    @classmethod
    def of(cls, arrays: ArrayKind, network: nn.Module) -> ArrayBatch:
        """The batches of these arrays for a network."""
        weights = (weight for weight in network.parameters() if weight.is_floating_point())
        return cls(arrays.names, dtype_name(next(weights, torch.empty(0))))

    def __call__(self, samples: Sequence[Arrays]) -> Tensor | dict[str, Tensor]:
        """Stack N samples to [N, ...]."""
        batch = {name: self._tensor(np.stack([sample[name] for sample in samples])) for name in self.names}
        return batch[""] if self.names == ("",) else batch

    def _tensor(self, array: npt.NDArray[Any]) -> Tensor:
        if array.dtype.kind == "b":
            return torch.from_numpy(array)
        if array.dtype.kind in "iu":
            if array.max() > np.iinfo(np.int64).max:
                raise ValueError(f"an integer is {array.max()}; expected at most {np.iinfo(np.int64).max}")
            return torch.from_numpy(array.astype(np.int64))
        # NumPy has no bfloat16.
        plain = np.float64 if self.floats == "float64" else np.float32
        dtype: torch.dtype = getattr(torch, self.floats)
        # Too large numbers become infinite, and the sample is skipped with that reason.
        with np.errstate(over="ignore"):
            return torch.from_numpy(array.astype(plain)).to(dtype)
