"""Readings as columns: to NumPy and Arrow, and back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from gradmeter.errors import DataError, UnsupportedModelError
from gradmeter.statistics import ACTIVATION_METRICS, METRICS

if TYPE_CHECKING:
    from gradmeter.readings import Readings

_KEY = b"gradmeter"
_ACTIVATION, _SCORE = "activation:", "score:"
# Of the first pseudo-label, where it is not "predicted": a table that lost its note would not tell.
_FIRST = "pseudo_label"


@dataclass(frozen=True)
class _Layout:
    """Which columns a table of readings has.

    Attributes:
        layers: with "all" as the last.
        pseudo_labels: the first of which has columns without a prefix.
        outputs: layers whose outputs were read; None where none were.
        embedding: whether there is one.
        scores: names.
    """

    layers: tuple[str, ...]
    pseudo_labels: tuple[str, ...] = ("predicted",)
    outputs: tuple[str, ...] | None = None
    embedding: bool = False
    scores: tuple[str, ...] = ()

    @property
    def prefixes(self) -> Iterator[str]:
        """Of the pseudo-labels' columns."""
        yield ""
        for name in self.pseudo_labels[1:]:
            yield f"{name}:"

    def columns(self, prefix: str) -> list[str]:
        """Names of the columns with a prefix, in the order of the flattened values."""
        layers = (self.outputs or ()) if prefix == _ACTIVATION else self.layers
        metrics = ACTIVATION_METRICS if prefix == _ACTIVATION else METRICS
        return [f"{prefix}{layer}/{metric}" for layer in layers for metric in metrics]

    @property
    def needed(self) -> list[str]:
        """Names of all columns that a table must have."""
        names = ["logits"]
        for prefix in self.prefixes:
            names += [f"{prefix}log_scale", *self.columns(prefix)]
        names += self.columns(_ACTIVATION) + [_SCORE + name for name in self.scores]
        return [*names, "embedding"] if self.embedding else names

    @classmethod
    def of(cls, readings: Readings) -> _Layout:
        return cls(
            readings.layers,
            readings.pseudo_labels,
            None if readings.activations is None else readings.activations.layers,
            readings.embedding is not None,
            tuple(readings.scores),
        )

    def note(self) -> bytes:
        """What `described` reads."""
        return json.dumps(
            {
                "layers": self.layers,
                "metrics": METRICS,
                "pseudo_labels": self.pseudo_labels,
                "outputs": self.outputs,
                "embedding": self.embedding,
                "scores": self.scores,
            }
        ).encode()

    @classmethod
    def described(cls, table: pa.Table) -> _Layout:
        """From a table's note, or from the names of its columns where it has lost it."""
        note = (table.schema.metadata or {}).get(_KEY)
        if note is None:
            return cls._named(table)
        try:
            told = json.loads(note)
            layers = tuple(told["layers"])
            if tuple(told["metrics"]) != METRICS:
                raise DataError("the table of readings lacks metrics known to this version; measure again")
            # A note of version 0.1 tells of layers only.
            outputs = told.get("outputs")
            return cls(
                layers,
                tuple(told.get("pseudo_labels", ("predicted",))),
                None if outputs is None else tuple(outputs),
                bool(told.get("embedding", False)),
                tuple(told.get("scores", ())),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError("the table's note on its layers is damaged; expected one that to_arrow made") from error

    @classmethod
    def _named(cls, table: pa.Table) -> _Layout:
        """The names of further pseudo-labels are those before ":log_scale"."""
        names = table.column_names
        first = table[_FIRST][0].as_py() if _FIRST in names and len(table) else "predicted"
        further = tuple(name.removesuffix(":log_scale") for name in names if name.endswith(":log_scale"))
        prefixes = (_ACTIVATION, _SCORE, *(f"{name}:" for name in further))
        split = [name.rpartition("/") for name in names if not name.startswith(prefixes)]
        layers = tuple(dict.fromkeys(layer for layer, slash, metric in split if slash and metric in METRICS))
        if layers[-1:] != ("all",):
            raise DataError("the table holds no gradmeter readings; expected one that Readings.to_arrow made")
        outputs = [name[len(_ACTIVATION) :].rpartition("/")[0] for name in names if name.startswith(_ACTIVATION)]
        return cls(
            layers,
            (first, *further),
            tuple(dict.fromkeys(outputs)) if outputs else None,
            "embedding" in names,
            tuple(name.removeprefix(_SCORE) for name in names if name.startswith(_SCORE)),
        )


def columns(readings: Readings) -> dict[str, np.ndarray]:
    """As `Readings.to_numpy` tells."""
    layout = _Layout.of(readings)
    if double := [name for name, count in Counter(layout.needed).items() if count > 1]:
        raise UnsupportedModelError(
            f"two readings would stand in the column {double[0]!r}; expected layers whose names do not begin like "
            "other columns, with a pseudo-label and a colon: rename the layer"
        )
    found = {
        "prediction": readings.predictions.cpu().numpy(),
        "log_scale": readings.log_scale.cpu().numpy(),
        "logits": plain_numbers(readings.logits),
        **_spread(layout.columns(""), readings.values),
    }
    if readings.pseudo_label != "predicted":
        found[_FIRST] = np.full(len(readings), readings.pseudo_label)
    for name, further in readings.further.items():
        found[f"{name}:log_scale"] = further.log_scale.cpu().numpy()
        found |= _spread(layout.columns(f"{name}:"), further.values)
    if readings.activations is not None:
        found |= _spread(layout.columns(_ACTIVATION), readings.activations.values)
    found |= {_SCORE + name: score.cpu().numpy() for name, score in readings.scores.items()}
    if readings.embedding is not None:
        found["embedding"] = plain_numbers(readings.embedding)
    return found


def to_arrow(readings: Readings) -> pa.Table:
    """As `Readings.to_arrow` tells."""
    arrays = {
        name: pa.array(np.ascontiguousarray(array))
        if array.ndim == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(array).reshape(-1)), array.shape[1])
        for name, array in columns(readings).items()
    }
    return pa.table(arrays).replace_schema_metadata({_KEY: _Layout.of(readings).note()})


def from_arrow(table: pa.Table) -> Readings:
    """As `Readings.from_arrow` tells."""
    from gradmeter.readings import Activations, Readings

    layout = _Layout.described(table)
    present = set(table.column_names)
    missing = [name for name in layout.needed if name not in present]
    if missing:
        raise DataError(f"the table of readings lacks {', '.join(missing)}; expected one that to_arrow made")

    def vector(name: str) -> Tensor:
        return torch.from_numpy(_vector(table, name))

    def values(prefix: str, layers: int, metrics: int) -> Tensor:
        found = np.empty((table.num_rows, layers * metrics))
        for index, name in enumerate(layout.columns(prefix)):
            found[:, index] = _vector(table, name)
        return torch.from_numpy(found).reshape(table.num_rows, layers, metrics)

    logits = torch.from_numpy(_matrix(table["logits"]))
    first, *further = (
        Readings(
            logits, vector(f"{prefix}log_scale"), layout.layers, values(prefix, len(layout.layers), len(METRICS)), name
        )
        for prefix, name in zip(layout.prefixes, layout.pseudo_labels, strict=True)
    )
    outputs = layout.outputs
    return Readings(
        logits,
        first.log_scale,
        layout.layers,
        first.values,
        first.pseudo_label,
        {one.pseudo_label: one for one in further},
        None if outputs is None else Activations(outputs, values(_ACTIVATION, len(outputs), len(ACTIVATION_METRICS))),
        torch.from_numpy(_matrix(table["embedding"])) if layout.embedding else None,
        {name: vector(_SCORE + name) for name in layout.scores},
    )


def _spread(names: Sequence[str], values: Tensor) -> dict[str, np.ndarray]:
    flat = values.flatten(1).cpu().numpy()
    return {name: flat[:, index] for index, name in enumerate(names)}


def plain_numbers(tensor: Tensor) -> np.ndarray:
    """The numbers as tables hold them: NumPy does not know bfloat16, nor Arrow what to do with float16."""
    exact = tensor.dtype in (torch.float32, torch.float64)
    found: np.ndarray = (tensor if exact else tensor.float()).cpu().numpy()
    return found


def _vector(table: pa.Table, name: str) -> np.ndarray:
    """[N] float64 of a column."""
    try:
        vector: np.ndarray = table[name].to_numpy().astype(np.float64, copy=True)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"column {name!r} is of type {table[name].type}; expected numbers, as to_arrow makes"
        ) from error
    return vector


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
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
    matrix: np.ndarray = flat.reshape(len(lists), width).copy()
    return matrix
