"""The columns of a table of readings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from gradmeter.errors import DataError, UnsupportedModelError
from gradmeter.reading.statistics import ACTIVATION_METRICS, METRICS, STATISTICS

NOTE = b"gradmeter"
ACTIVATION, SCORE = "activation:", "score:"
# Column that names the first pseudo-label if it is not "predicted", for tables that lose their metadata.
FIRST = "pseudo_label"
# Column that says so if the gradients leave out biases, for the same tables.
BIASES = "biases"
# Column that says so if activations were wanted and no layer's output can be read, for the same tables.
OUTPUTS = "outputs"


@dataclass(frozen=True)
class Layout:
    """The columns of a table of readings.

    Attributes:
        layers: names of the layers; the last is "all". Empty for readings without gradients.
        pseudo_labels: names of the pseudo-labels; the columns of the first have no prefix.
        outputs: names of the layers with statistics of their outputs; None without activations.
        embedding: whether there is an embedding.
        scores: names of the scores.
        metrics: names of the statistics.
        biases: whether the gradients include those of biases.
    """

    layers: tuple[str, ...]
    pseudo_labels: tuple[str, ...] = ("predicted",)
    outputs: tuple[str, ...] | None = None
    embedding: bool = False
    scores: tuple[str, ...] = ()
    metrics: tuple[str, ...] = METRICS
    biases: bool = True

    @property
    def prefixes(self) -> Iterator[str]:
        """Prefixes of the columns of each pseudo-label."""
        yield ""
        for name in self.pseudo_labels[1:]:
            yield f"{name}:"

    def columns(self, prefix: str) -> list[str]:
        """Names of the statistics' columns with this prefix, in the order of the flattened values."""
        layers = (self.outputs or ()) if prefix == ACTIVATION else self.layers
        metrics = ACTIVATION_METRICS if prefix == ACTIVATION else self.metrics
        return [f"{prefix}{layer}/{metric}" for layer in layers for metric in metrics]

    def unambiguous(self) -> Layout:
        """Return this layout.

        Raises:
            UnsupportedModelError: if two columns have the same name.
        """
        if duplicates := [name for name, count in Counter(self.needed).items() if count > 1]:
            raise UnsupportedModelError(
                f"two columns would be called {duplicates[0]!r}; expected layer names that do not begin with a "
                "pseudo-label and a colon: rename the layer"
            )
        return self

    @property
    def needed(self) -> list[str]:
        """Names of all required columns."""
        names = ["logits"]
        for prefix in self.prefixes:
            names += [f"{prefix}log_scale", *self.columns(prefix)]
        names += self.columns(ACTIVATION) + [SCORE + name for name in self.scores]
        return [*names, "embedding"] if self.embedding else names

    def note(self) -> bytes:
        """The layout as JSON, for the metadata of a table; `described` reads it."""
        return json.dumps(
            {
                "layers": self.layers,
                "metrics": self.metrics,
                "pseudo_labels": self.pseudo_labels,
                "outputs": self.outputs,
                "embedding": self.embedding,
                "scores": self.scores,
                "biases": self.biases,
            }
        ).encode()

    @classmethod
    def described(cls, table: pa.Table) -> Layout:
        """The layout of a table, from its metadata or, without metadata, from its column names.

        Raises:
            DataError: if the metadata is damaged, or if the table holds no readings.
        """
        note = (table.schema.metadata or {}).get(NOTE)
        if note is None:
            said = {
                name: column_of(table, name)[0].as_py()
                for name in (FIRST, BIASES, OUTPUTS)
                if name in table.column_names and len(table)
            }
            layout = cls.named(table.column_names, said.get(FIRST, "predicted"), said.get(BIASES, True) is not False)
            return replace(layout, outputs=()) if said.get(OUTPUTS) is False and layout.outputs is None else layout
        try:
            layout = json.loads(note)
            # Version 0.1 wrote layers and metrics only.
            outputs = layout.get("outputs")
            return cls(
                tuple(layout["layers"]),
                tuple(layout.get("pseudo_labels", ("predicted",))),
                None if outputs is None else tuple(outputs),
                bool(layout.get("embedding", False)),
                tuple(layout.get("scores", ())),
                tuple(layout["metrics"]),
                # Earlier versions did not say.
                bool(layout.get("biases", True)),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DataError("the table's gradmeter metadata is damaged; expected that of to_arrow") from error

    @classmethod
    def named(cls, names: Sequence[str], first: str = "predicted", biases: bool = True) -> Layout:
        """The layout from column names; further pseudo-labels are those with a column "NAME:log_scale".

        Raises:
            DataError: if these are not the columns of readings.
        """
        further = tuple(name.removesuffix(":log_scale") for name in names if name.endswith(":log_scale"))
        prefixes = (ACTIVATION, *(f"{name}:" for name in further))
        parts = [name.rpartition("/") for name in names if not name.startswith(prefixes)]
        columns = [(layer, metric) for layer, slash, metric in parts if slash and metric in STATISTICS]
        of_layers = {f"{layer}/{metric}" for layer, metric in columns}
        layers = tuple(dict.fromkeys(layer for layer, _ in columns))
        if layers[-1:] != ("all",) and (layers or not {"prediction", "log_scale", "logits"} <= {*names}):
            raise DataError("the table holds no gradmeter readings; expected a table written by Readings.to_arrow")
        outputs = [name[len(ACTIVATION) :].rpartition("/")[0] for name in names if name.startswith(ACTIVATION)]
        return cls(
            layers,
            (first, *further),
            tuple(dict.fromkeys(outputs)) if outputs else None,
            "embedding" in names,
            tuple(name.removeprefix(SCORE) for name in names if name.startswith(SCORE) and name not in of_layers),
            tuple(dict.fromkeys(metric for _, metric in columns)) or METRICS,
            biases,
        )


def spread(names: Sequence[str], values: Tensor) -> dict[str, np.ndarray]:
    """Columns from values [N, layers, metrics]; `names` are those of the flattened last two axes."""
    flat = values.flatten(1).cpu().numpy()
    return {name: flat[:, index] for index, name in enumerate(names)}


def gather(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    """Columns of a table as [N, columns] float64, the inverse of `spread`."""
    numbers = np.empty((table.num_rows, len(names)))
    for index, name in enumerate(names):
        numbers[:, index] = vector(table, name)
    return numbers


def plain_numbers(tensor: Tensor) -> np.ndarray:
    """The values of a tensor as tables store them: NumPy has no bfloat16, and Arrow cannot handle float16."""
    exact = tensor.dtype in (torch.float32, torch.float64)
    values: np.ndarray = (tensor if exact else tensor.float()).cpu().numpy()
    return values


def vector(table: pa.Table, name: str) -> np.ndarray:
    """A column as [N] float64."""
    column = column_of(table, name)
    try:
        numbers: np.ndarray = column.to_numpy().astype(np.float64, copy=True)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {name!r} has type {column.type}; expected numbers") from error
    return numbers


def matrix(table: pa.Table, name: str) -> np.ndarray:
    """A column of lists of equal length as [N, C]."""
    lists = column_of(table, name).combine_chunks()
    if pa.types.is_null(lists.type) and not len(lists):  # as in an empty pandas frame
        raise DataError(f"column {name!r} has no rows, and so no type; expected at least one row")
    fixed = pa.types.is_fixed_size_list(lists.type)
    if not fixed and not pa.types.is_list(lists.type) and not pa.types.is_large_list(lists.type):
        raise DataError(f"column {name!r} has type {lists.type}; expected lists of numbers")
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    if len(flat) and flat.dtype.kind not in "fiu":
        raise DataError(f"column {name!r} has type {lists.type}; expected lists of numbers")
    width = lists.type.list_size if fixed else pc.min(pc.list_value_length(lists)).as_py() or 0
    # A null list contributes no values.
    if width * len(lists) != len(flat):
        raise DataError(f"column {name!r} has lists of different lengths; expected equal lengths")
    rows: np.ndarray = flat.reshape(len(lists), width).copy()
    return rows


def column_of(table: Any, name: str) -> Any:
    """A column of an Arrow table or pandas frame; None if there is none.

    Raises:
        DataError: if there are several.
    """
    column = None
    with suppress(KeyError):
        column = table[name]
    # Of several columns, Arrow raises a KeyError, and pandas returns a frame.
    if getattr(column, "ndim", 1) > 1 or (column is None and name in getattr(table, "column_names", ())):
        raise DataError(f"the table has several columns {name!r}; expected one")
    return column
