"""Which inputs are the same, by what a network is given of them and not by where they lie."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gradmeter.reading.columns import plain_numbers
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.readings import Readings

HASH_COLUMN = "content_hash"
"""The column of a table of readings that holds the hash of each input."""

_BYTES = 8
# The tensor by which processors of texts say which tokens are padding, which depends on the rest of the batch.
_MASK = "attention_mask"


def content_hashes(inputs: Any) -> NDArray[np.uint64]:
    """Hashes of the samples of a batch: equal for equal samples, whatever the batch and the machine.

    Args:
        inputs: as a meter takes them; N samples. What an attention mask leaves out is not looked at, nor is the name of
            a tensor that is the only one, or how many bytes whole numbers have.

    Returns:
        [N] uint64; of a million samples two different ones share a hash with a probability of 3e-8.
    """
    given = Inputs.of(inputs)
    named = [("", value) for value in given.args] + sorted(given.kwargs.items(), key=lambda item: item[0])
    tensors = [(name, _widened(value.cpu())) for name, value in named if isinstance(value, torch.Tensor)]
    if len(tensors) == 1:
        tensors = [("", tensors[0][1])]
    mask = given.kwargs.get(_MASK)
    kept = None if mask is None else mask.bool().cpu()
    hashes = np.empty(given.samples, np.uint64)
    for sample in range(given.samples):
        digest = hashlib.blake2b(digest_size=_BYTES)
        for name, tensor in tensors:
            row = tensor[sample]
            if kept is not None and row.shape == kept[sample].shape:
                row = row[kept[sample]]
            digest.update(f"{name} {row.dtype} {tuple(row.shape)} ".encode())
            digest.update(row.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        hashes[sample] = int.from_bytes(digest.digest(), "little")
    return hashes


def reading_hashes(readings: Readings) -> NDArray[np.uint64]:
    """Hashes [N] of readings, which stand for inputs that are not at hand: equal where every number is."""
    # As a table holds them: so it is with those that come back from one.
    columns = [plain_numbers(numbers).reshape(len(readings), -1) for numbers in (readings.logits, readings.values)]
    hashes = np.empty(len(readings), np.uint64)
    for sample in range(len(readings)):
        digest = hashlib.blake2b(b"readings ", digest_size=_BYTES)
        for column in columns:
            digest.update(column[sample].tobytes())
        hashes[sample] = int.from_bytes(digest.digest(), "little")
    return hashes


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    """Whole numbers as int64, others as they are."""
    whole = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    return tensor.long() if whole else tensor
