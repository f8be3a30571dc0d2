"""Which columns a table of readings has, and the arrays in them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from gradmeter.errors import DataError, UnsupportedModelError
from gradmeter.reading.statistics import ACTIVATION_METRICS, METRICS, STATISTICS

NOTE = b"gradmeter"
ACTIVATION, SCORE = "activation:", "score:"
# Of the first pseudo-label, where it is not "predicted": a table that lost its note would not tell.
FIRST = "pseudo_label"


@dataclass(frozen=True)
class Layout:
    """Which columns a table of readings has.

    Attributes:
        layers: with "all" as the last.
        pseudo_labels: the first of which has columns without a prefix.
        outputs: layers whose outputs were read; None where none were.
        embedding: whether there is one.
        scores: names.
        metrics: names of the statistics.
    """

    layers: tuple[str, ...]
    pseudo_labels: tuple[str, ...] = ("predicted",)
    outputs: tuple[str, ...] | None = None
    embedding: bool = False
    scores: tuple[str, ...] = ()
    metrics: tuple[str, ...] = METRICS

    @property
    def prefixes(self) -> Iterator[str]:
        """Of the pseudo-labels' columns."""
        yield ""
        for name in self.pseudo_labels[1:]:
            yield f"{name}:"

    def columns(self, prefix: str) -> list[str]:
        """Names of the columns with a prefix, in the order of the flattened values."""
        layers = (self.outputs or ()) if prefix == ACTIVATION else self.layers
        metrics = ACTIVATION_METRICS if prefix == ACTIVATION else self.metrics
        return [f"{prefix}{layer}/{metric}" for layer in layers for metric in metrics]

    def unambiguous(self) -> Layout:
        """The same layout.

        Raises:
            UnsupportedModelError: if two columns have one name.
        """
        if double := [name for name, count in Counter(self.needed).items() if count > 1]:
            raise UnsupportedModelError(
                f"two readings would stand in the column {double[0]!r}; expected layers whose names do not begin like "
                "other columns, with a pseudo-label and a colon: rename the layer"
            )
        return self

    @property
    def needed(self) -> list[str]:
        """Names of all columns that a table must have."""
        names = ["logits"]
        for prefix in self.prefixes:
            names += [f"{prefix}log_scale", *self.columns(prefix)]
        names += self.columns(ACTIVATION) + [SCORE + name for name in self.scores]
        return [*names, "embedding"] if self.embedding else names

    def note(self) -> bytes:
        """What `described` reads."""
        return json.dumps(
            {
                "layers": self.layers,
                "metrics": self.metrics,
                "pseudo_labels": self.pseudo_labels,
                "outputs": self.outputs,
                "embedding": self.embedding,
                "scores": self.scores,
            }
        ).encode()

    @classmethod
    def described(cls, table: pa.Table) -> Layout:
        """From a table's note, or from the names of its columns where it has lost it."""
        note = (table.schema.metadata or {}).get(NOTE)
        if note is None:
            return cls._named(table)
        try:
            described = json.loads(note)
            # A note of version 0.1 holds layers and metrics only.
            outputs = described.get("outputs")
            return cls(
                tuple(described["layers"]),
                tuple(described.get("pseudo_labels", ("predicted",))),
                None if outputs is None else tuple(outputs),
                bool(described.get("embedding", False)),
                tuple(described.get("scores", ())),
                tuple(described["metrics"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError("the table's note on its layers is damaged; expected one that to_arrow made") from error

    @classmethod
    def _named(cls, table: pa.Table) -> Layout:
        """The names of further pseudo-labels are those before ":log_scale"."""
        names = table.column_names
        first = table[FIRST][0].as_py() if FIRST in names and len(table) else "predicted"
        further = tuple(name.removesuffix(":log_scale") for name in names if name.endswith(":log_scale"))
        prefixes = (ACTIVATION, SCORE, *(f"{name}:" for name in further))
        split = [name.rpartition("/") for name in names if not name.startswith(prefixes)]
        split = [(layer, slash, metric) for layer, slash, metric in split if slash and metric in STATISTICS]
        layers = tuple(dict.fromkeys(layer for layer, _, _ in split))
        if layers[-1:] != ("all",):
            raise DataError("the table holds no gradmeter readings; expected one that Readings.to_arrow made")
        outputs = [name[len(ACTIVATION) :].rpartition("/")[0] for name in names if name.startswith(ACTIVATION)]
        return cls(
            layers,
            (first, *further),
            tuple(dict.fromkeys(outputs)) if outputs else None,
            "embedding" in names,
            tuple(name.removeprefix(SCORE) for name in names if name.startswith(SCORE)),
            tuple(dict.fromkeys(metric for _, _, metric in split)),
        )


def spread(names: Sequence[str], values: Tensor) -> dict[str, np.ndarray]:
    """Columns of the flattened values [N, layers, metrics]."""
    flat = values.flatten(1).cpu().numpy()
    return {name: flat[:, index] for index, name in enumerate(names)}


def gathered(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    """[N, columns] float64 of a table, the inverse of `spread`."""
    numbers = np.empty((table.num_rows, len(names)))
    for index, name in enumerate(names):
        numbers[:, index] = vector(table, name)
    return numbers


def plain_numbers(tensor: Tensor) -> np.ndarray:
    """The numbers as tables hold them: NumPy does not know bfloat16, nor Arrow what to do with float16."""
    exact = tensor.dtype in (torch.float32, torch.float64)
    found: np.ndarray = (tensor if exact else tensor.float()).cpu().numpy()
    return found


def vector(table: pa.Table, name: str) -> np.ndarray:
    """[N] float64 of a column."""
    try:
        numbers: np.ndarray = table[name].to_numpy().astype(np.float64, copy=True)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"column {name!r} is of type {table[name].type}; expected numbers, as to_arrow makes"
        ) from error
    return numbers


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    """[N, C] of a column of lists of one length."""
    lists = column.combine_chunks()
    fixed = pa.types.is_fixed_size_list(lists.type)
    if not fixed and not pa.types.is_list(lists.type) and not pa.types.is_large_list(lists.type):
        raise DataError(f"the table's logits are of type {lists.type}; expected lists, as to_arrow makes")
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    if len(flat) and flat.dtype.kind not in "fiu":
        raise DataError(f"the table's logits are of type {lists.type}; expected lists of numbers, as to_arrow makes")
    width = lists.type.list_size if fixed else pc.min(pc.list_value_length(lists)).as_py() or 0
    # A list that is null has no numbers.
    if width * len(lists) != len(flat):
        raise DataError("the table's logits are lists of different lengths; expected one number for each class")
    rows: np.ndarray = flat.reshape(len(lists), width).copy()
    return rows
