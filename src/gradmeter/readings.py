"""Readings: what a meter read, by name, with the ways in and out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from gradmeter.errors import DataError, GradmeterError, InputError
from gradmeter.files import whole
from gradmeter.statistics import METRICS, SCALED_METRICS

if TYPE_CHECKING:
    import pandas as pd

_SCHEMA_KEY = b"gradmeter"


@dataclass(frozen=True, eq=False)
class Readings:
    """Gradient statistics of N samples, per layer and for the whole network.

    Attributes:
        logits: [N, C] the network's output.
        log_scale: [N] float64; log(1 - p) of the predicted class for the pseudo-label "predicted", else the
            logarithm of the size of the start vector.
        layers: names of the layers that own parameters, in the network's order, then "all".
        values: [N, layers, metrics] float64; the metrics of `gradmeter.statistics.METRICS`, for the gradient of the
            loss itself (the scale is in).
    """

    logits: Tensor
    log_scale: Tensor
    layers: tuple[str, ...]
    values: Tensor

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in the order of the last axis of `values`."""
        return METRICS

    @property
    def predictions(self) -> Tensor:
        """[N] int64, the class of the largest logit."""
        return self.logits.argmax(dim=1)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names "layer/metric" of the flattened last two axes of `values`."""
        return tuple(f"{layer}/{metric}" for layer in self.layers for metric in METRICS)

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.logits)

    def __getitem__(self, key: tuple[str, str]) -> Tensor:
        """One metric of one layer, [N] float64: readings["conv1", "l2"]."""
        if not isinstance(key, tuple) or len(key) != 2:
            raise InputError(f"no reading {key!r}; expected a layer and a metric, as in readings['all', 'l2']")
        layer, metric = key
        if layer not in self.layers:
            raise InputError(f"no layer {layer!r}; the network has {', '.join(self.layers)}")
        if metric not in METRICS:
            raise InputError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
        return self.values[:, self.layers.index(layer), METRICS.index(metric)]

    def __repr__(self) -> str:
        """The shape and the names, not the numbers."""
        return f"Readings({len(self)} samples, {self.logits.shape[1]} classes, layers: {', '.join(self.layers)})"

    @classmethod
    def scaled(cls, logits: Tensor, log_scale: Tensor, layers: tuple[str, ...], statistics: Tensor) -> Readings:
        """Readings from statistics [N, layers, metrics] of the gradient that a start vector of scale 1 gave."""
        factor = log_scale.exp().reshape(-1, 1, 1)
        scales = torch.tensor([metric in SCALED_METRICS for metric in METRICS], device=statistics.device)
        return cls(logits, log_scale, layers, torch.where(scales, statistics * factor, statistics))

    @classmethod
    def concatenate(cls, parts: Sequence[Readings]) -> Readings:
        """Join readings of the same network, in order."""
        if not parts:
            raise InputError("no readings to join; expected at least one")
        if any(part.layers != parts[0].layers for part in parts):
            raise InputError("readings of different networks cannot be joined; their layers differ")
        return cls(
            torch.cat([part.logits for part in parts]),
            torch.cat([part.log_scale for part in parts]),
            parts[0].layers,
            torch.cat([part.values for part in parts]),
        )

    def rows(self, taken: np.ndarray) -> Readings:
        """Readings of some of the samples: their numbers, or [N] bool."""
        rows = torch.from_numpy(np.ascontiguousarray(taken)).to(self.values.device)
        return Readings(self.logits[rows], self.log_scale[rows], self.layers, self.values[rows])

    def to_numpy(self) -> dict[str, np.ndarray]:
        """Columns "layer/metric", "log_scale" and "prediction" as [N] arrays, "logits" as [N, C]."""
        flat = self.values.flatten(1).cpu().numpy()
        return {
            "prediction": self.predictions.cpu().numpy(),
            "log_scale": self.log_scale.cpu().numpy(),
            "logits": self.logits.float().cpu().numpy()
            if self.logits.dtype not in (torch.float32, torch.float64)
            else self.logits.cpu().numpy(),
            **{name: flat[:, index] for index, name in enumerate(self.columns)},
        }

    def to_arrow(self) -> pa.Table:
        """A table with the columns of `to_numpy`; logits are a fixed-size list."""
        arrays = self.to_numpy()
        logits = np.ascontiguousarray(arrays["logits"])
        table = pa.table(
            {
                name: pa.FixedSizeListArray.from_arrays(pa.array(logits.reshape(-1)), logits.shape[1])
                if name == "logits"
                else pa.array(np.ascontiguousarray(array))
                for name, array in arrays.items()
            }
        )
        note = json.dumps({"layers": self.layers, "metrics": METRICS}).encode()
        return table.replace_schema_metadata({_SCHEMA_KEY: note})

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Readings:
        """Readings from a table that `to_arrow` made, further columns of which are passed over.

        A table that lost its note on the way, through pandas or a database, is read by the names of its columns.

        Raises:
            DataError: if the table was made by something else or lacks a column.
        """
        layers, metrics = _described(table)
        names = [f"{layer}/{metric}" for layer in layers for metric in metrics]
        missing = [name for name in ("logits", "log_scale", *names) if name not in table.column_names]
        if missing or metrics != METRICS:
            raise DataError(f"the table of readings lacks {', '.join(missing) or 'metrics known to this version'}")
        logits = _matrix(table["logits"])
        values = np.empty((table.num_rows, len(names)))
        for index, name in enumerate(names):
            values[:, index] = table[name].to_numpy()
        return cls(
            torch.from_numpy(logits),
            torch.from_numpy(table["log_scale"].to_numpy().copy()),
            layers,
            torch.from_numpy(values).reshape(-1, len(layers), len(metrics)),
        )

    def to_pandas(self) -> pd.DataFrame:
        """The table of `to_arrow` as a pandas frame.

        Raises:
            GradmeterError: if pandas is not installed.
        """
        try:
            return self.to_arrow().to_pandas()
        except ModuleNotFoundError as error:
            raise GradmeterError(
                "to_pandas needs the package pandas, which is not installed; pip install pandas"
            ) from error

    @classmethod
    def from_pandas(cls, frame: pd.DataFrame) -> Readings:
        """Readings from a frame that `to_pandas` made, or that was read from the Parquet files of a measurement.

        Raises:
            DataError: as `from_arrow` does.
        """
        return cls.from_arrow(pa.Table.from_pandas(frame, preserve_index=False))

    def write_parquet(self, path: Path | str) -> None:
        """Write the table of `to_arrow` to one Parquet file, whole or not at all.

        Raises:
            OutputError: if the file cannot be written.
        """
        with whole(Path(path)) as temporary:
            pq.write_table(self.to_arrow(), temporary, compression="zstd")

    @classmethod
    def read_parquet(cls, path: Path | str) -> Readings:
        """Readings from a file that `write_parquet` made.

        Raises:
            DataError: if the file is missing, damaged or holds something else.
        """
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{path} is no readable Parquet file: {error}") from error
        return cls.from_arrow(table)


def _described(table: pa.Table) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the layers and of the metrics."""
    note = (table.schema.metadata or {}).get(_SCHEMA_KEY)
    if note is not None:
        try:
            described: dict[str, list[str]] = json.loads(note)
            return tuple(described["layers"]), tuple(described["metrics"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError("the table's note on its layers is damaged; expected one that to_arrow made") from error
    split = [name.rpartition("/") for name in table.column_names]
    layers = tuple(dict.fromkeys(layer for layer, slash, metric in split if slash and metric in METRICS))
    if layers[-1:] != ("all",):
        raise DataError("the table holds no gradmeter readings; expected one that Readings.to_arrow made")
    return layers, METRICS


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """[N, C] of a column of lists of one length."""
    lists = column.combine_chunks()
    fixed = pa.types.is_fixed_size_list(lists.type)
    if not fixed and not pa.types.is_list(lists.type) and not pa.types.is_large_list(lists.type):
        raise DataError(f"the table's logits are of type {lists.type}; expected lists, as to_arrow makes")
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    width = lists.type.list_size if fixed else pc.min(pc.list_value_length(lists)).as_py() or 0
    # A list that is null has no numbers.
    if width * len(lists) != len(flat):
        raise DataError("the table's logits are lists of different lengths; expected one number for each class")
    matrix: np.ndarray = flat.reshape(len(lists), width).copy()
    return matrix
