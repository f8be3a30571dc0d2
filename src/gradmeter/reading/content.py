"""Content hashes of inputs: equal inputs have equal hashes, wherever they are stored."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from gradmeter.errors import DataError
from gradmeter.reading.columns import column_of, plain_numbers
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network.structure import unwrapped
from gradmeter.reading.readings import Readings

HASH_COLUMN = "content_hash"
"""Name of the column of content hashes in a table of readings."""

_BYTES = 8


def content_hashes(inputs: Any, network: nn.Module | None = None) -> NDArray[np.uint64]:
    """Hash each sample of a batch; equal samples have equal hashes in every batch and on every machine.

    Args:
        inputs: N samples, as for a meter. Entries that an attention mask excludes, the name of a single tensor, and the
            size of an integer dtype do not affect the hash.
        network: takes the inputs. The names of its parameters name those of a tuple, which then has the same hashes as
            a dict.

    Returns:
        [N] uint64; in a million different samples the probability of a collision is 3e-8.
    """
    batch = Inputs.of(inputs)
    batch = batch if network is None else batch.named_for(unwrapped(network))
    arguments = [*(("", value) for value in batch.args), *batch.kwargs.items()]
    names = [name for name, value in arguments if isinstance(value, torch.Tensor)]
    # The order of keyword arguments does not matter.
    named = sorted(zip(names, batch.tensors, batch.text_axes, strict=True), key=lambda item: item[0])
    tensors = [(name if len(named) > 1 else "", _widened(tensor.cpu()), axis) for name, tensor, axis in named]
    kept = None if batch.mask is None else batch.mask.cpu()
    hashes = np.empty(batch.samples, np.uint64)
    for sample in range(batch.samples):
        digest = hashlib.blake2b(digest_size=_BYTES)
        for name, tensor, axis in tensors:
            row = tensor[sample]
            if kept is not None and axis is not None:
                row = row.index_select(axis - 1, kept[sample].nonzero()[:, 0])
            digest.update(f"{name} {row.dtype} {tuple(row.shape)} ".encode())
            digest.update(row.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        hashes[sample] = int.from_bytes(digest.digest(), "little")
    return hashes


def reading_hashes(readings: Readings) -> NDArray[np.uint64]:
    """Hash the readings of each sample, for inputs that are not available; [N] uint64.

    Statistics of layers and the embedding are hashed, too: different inputs often have equal logits if these are few
    and have few bits.
    """
    numbers = [readings.logits, readings.values]
    numbers += [] if readings.activations is None else [readings.activations.values]
    numbers += [] if readings.embedding is None else [readings.embedding]
    # Hash the values as tables store them, so that readings loaded from a table have the same hashes.
    columns = [plain_numbers(values).reshape(len(readings), -1) for values in numbers]
    hashes = np.empty(len(readings), np.uint64)
    for sample in range(len(readings)):
        digest = hashlib.blake2b(b"readings ", digest_size=_BYTES)
        for column in columns:
            digest.update(column[sample].tobytes())
        hashes[sample] = int.from_bytes(digest.digest(), "little")
    return hashes


def table_contents(table: Any, readings: Readings) -> NDArray[np.uint64]:
    """Return the hashes of the inputs of an Arrow table or pandas frame of readings, [N].

    Rows without one, as in tables of earlier versions, get the hash of their readings. What cannot store uint64 may
    have turned the hashes into signed integers, decimals or texts.

    Raises:
        DataError: if a hash is no whole number, as one that was rounded, or if there are several such columns.
    """
    column = column_of(table, HASH_COLUMN)
    if column is None:
        return reading_hashes(readings)
    values = column.to_numpy()
    if values.dtype == np.uint64:
        return np.asarray(values)
    is_arrow = isinstance(table, pa.Table)
    missing = np.asarray(column.is_null() if is_arrow else column.isna())
    exact = column.to_pylist() if is_arrow else column.tolist()
    hashes = reading_hashes(readings)
    try:
        hashes[~missing] = [int(str(value)) % 2**64 for value, none in zip(exact, missing, strict=True) if not none]
    except ValueError as error:
        raise DataError(
            f"{HASH_COLUMN} has values of type {values.dtype}; expected whole numbers, as gradmeter writes them"
        ) from error
    return hashes


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    """Convert integers to int64; leave other tensors unchanged."""
    integer = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    return tensor.long() if integer else tensor
