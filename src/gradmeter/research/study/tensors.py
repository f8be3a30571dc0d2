"""Tensor files: safetensors that appear whole, with what is to be known about them as one JSON text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gradmeter.errors import DataError
from gradmeter.files import atomic_write

# One key only: safetensors writes several in an order that changes from process to process.
_KEY = "gradmeter"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors by name, whole or not at all; equal content gives equal bytes."""
    with atomic_write(path) as temporary:
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temporary, metadata={_KEY: json.dumps(about, sort_keys=True)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors by name, and what is known about them.

    Raises:
        DataError: if the file is missing, damaged or not one that `write_tensors` wrote.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no iterator)
            return tensors, json.loads(stored.metadata()[_KEY])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not readable ({error}); remove it and run the same command again") from error
