"""Safetensors files, written atomically, with JSON metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from gradmeter.files import atomic_write, plainly_named
from gradmeter.research.own_files import own_file

# All metadata goes under one key: safetensors writes several keys in an order that differs between processes.
_KEY = "gradmeter"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write named tensors and metadata atomically; equal content gives equal bytes."""
    with atomic_write(path) as temporary:
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        # Python writes the file, because safetensors rejects paths that are not valid UTF-8.
        temporary.write_bytes(save(contiguous, metadata={_KEY: json.dumps(metadata, sort_keys=True)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors, by name, and the metadata of a file that `write_tensors` wrote.

    Raises:
        DataError: the file is missing, damaged or in another format.
    """
    with own_file(path), plainly_named(path) as plain, safe_open(plain, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
        return tensors, json.loads(file.metadata()[_KEY])
