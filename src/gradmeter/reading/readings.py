"""Readings: what a meter read, by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from gradmeter.errors import DataError, GradmeterError, InputError, one_line
from gradmeter.files import atomic_write
from gradmeter.reading.activations import Activations, named
from gradmeter.reading.columns import (
    ACTIVATION,
    FIRST,
    NOTE,
    SCORE,
    Layout,
    gathered,
    matrix,
    plain_numbers,
    spread,
    vector,
)
from gradmeter.reading.statistics import ACTIVATION_METRICS, METRICS, STATISTICS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Readings:
    """Gradient statistics of N samples, per layer and for the whole network.

    Attributes:
        logits: [N, C] the network's output.
        log_scale: [N] float64; log(1 - p) of the predicted class for the pseudo-label "predicted", else the
            logarithm of the size of the start vector.
        layers: names of the layers that own parameters, in the network's order, then "all".
        values: [N, layers, metrics] float64, for the gradient of the loss itself (the scale is in).
        pseudo_label: the name of what was pretended to be true.
        further: readings of the same samples for the meter's further pseudo-labels, by name; see `for_pseudo_label`.
        activations: statistics of the layers' outputs; None where the meter was not asked for them.
        embedding: [N, D] what the last layer is given; None where the meter was not asked for it, or the network does
            not end in a layer that puts out the logits.
        scores: further scores, [N] float64 each, by name; those that the meter was asked for.
        metrics: names of the statistics, in the order of the last axis of `values`: those of
            `gradmeter.reading.statistics.STATISTICS` when they were read.
    """

    logits: Tensor
    log_scale: Tensor
    layers: tuple[str, ...]
    values: Tensor
    pseudo_label: str = "predicted"
    further: Mapping[str, Readings] = field(default_factory=dict)
    activations: Activations | None = None
    embedding: Tensor | None = None
    scores: Mapping[str, Tensor] = field(default_factory=dict)
    metrics: tuple[str, ...] = METRICS

    @property
    def pseudo_labels(self) -> tuple[str, ...]:
        """Names of the pseudo-labels, the first of which `values` belong to."""
        return (self.pseudo_label, *self.further)

    @property
    def predictions(self) -> Tensor:
        """[N] int64, the class of the largest logit."""
        return self.logits.argmax(dim=1)

    @property
    def finite(self) -> Tensor:
        """[N] bool, whether all numbers of a sample are finite; a start vector of size zero has log_scale -inf."""
        each = (self, *self.further.values())
        numbers = [self.logits, *(one.values for one in each), *(one.log_scale.exp() for one in each)]
        numbers += [] if self.activations is None else [self.activations.values]
        numbers += [] if self.embedding is None else [self.embedding]
        numbers += self.scores.values()
        return torch.stack([torch.isfinite(one).reshape(len(self), -1).all(dim=1) for one in numbers]).all(dim=0)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names "layer/metric" of the flattened last two axes of `values`."""
        return tuple(f"{layer}/{metric}" for layer in self.layers for metric in self.metrics)

    def for_pseudo_label(self, pseudo_label: str | int) -> Readings:
        """The readings for one of the pseudo-labels: readings.for_pseudo_label("uniform")["conv1", "l2"].

        Raises:
            InputError: for a pseudo-label that the meter was not asked for.
        """
        name = str(pseudo_label)
        if name == self.pseudo_label:
            return replace(self, further={}) if self.further else self
        if name not in self.further:
            raise InputError(f"no pseudo-label {name!r}; these readings have {', '.join(self.pseudo_labels)}")
        return self.further[name]

    def under(self, pseudo_label: str | int) -> Readings:
        """Deprecated; `for_pseudo_label`."""
        warnings.warn(
            "Readings.under is deprecated and goes with version 0.3; use for_pseudo_label",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.for_pseudo_label(pseudo_label)

    def led_by(self, pseudo_label: str) -> Readings:
        """The same readings with another of the pseudo-labels as the first.

        Raises:
            InputError: for a pseudo-label that the meter was not asked for.
        """
        if pseudo_label == self.pseudo_label:
            return self
        first = self.for_pseudo_label(pseudo_label)
        own = replace(self, further={}, activations=None, embedding=None, scores={})
        others = {self.pseudo_label: own, **{name: one for name, one in self.further.items() if name != pseudo_label}}
        return replace(self, log_scale=first.log_scale, values=first.values, pseudo_label=pseudo_label, further=others)

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.logits)

    def __getitem__(self, key: tuple[str, str]) -> Tensor:
        """One metric of one layer, [N] float64: readings["conv1", "l2"]."""
        return named(self.values, self.layers, self.metrics, key)

    def __repr__(self) -> str:
        """The shape and the names, not the numbers."""
        return f"Readings({len(self)} samples, {self.logits.shape[1]} classes, layers: {', '.join(self.layers)})"

    @classmethod
    def scaled(
        cls, logits: Tensor, log_scale: Tensor, layers: tuple[str, ...], statistics: Tensor, metrics: tuple[str, ...]
    ) -> Readings:
        """Readings from statistics [N, layers, metrics] of the gradient that a start vector of scale 1 gave."""
        factor = log_scale.exp().reshape(-1, 1, 1)
        scales = torch.tensor([STATISTICS[metric].scales for metric in metrics], device=statistics.device)
        values = torch.where(scales, statistics * factor, statistics)
        return cls(logits, log_scale, layers, values, metrics=metrics)

    @classmethod
    def concatenate(cls, parts: Sequence[Readings]) -> Readings:
        """Join readings of the same network by meters that were asked for the same, in order."""
        if not parts:
            raise InputError("no readings to join; expected at least one")
        if any(part.layers != parts[0].layers for part in parts):
            raise InputError("readings of different networks cannot be joined; their layers differ")
        if len({part._layout for part in parts}) > 1:
            raise InputError(
                "readings cannot be joined: their pseudo-labels, activations, embeddings or scores differ; expected "
                "those of one meter"
            )
        return cls._joined(lambda tensors: torch.cat(tuple(tensors)), parts)

    def rows(self, taken: np.ndarray) -> Readings:
        """Readings of some of the samples: their numbers, or [N] bool."""
        rows = torch.from_numpy(np.ascontiguousarray(taken)).to(self.values.device)
        return self._joined(lambda tensors: tensors[0][rows], [self])

    @property
    def _layout(self) -> Layout:
        """Of the table that holds these readings."""
        return Layout(
            self.layers,
            self.pseudo_labels,
            None if self.activations is None else self.activations.layers,
            self.embedding is not None,
            tuple(self.scores),
            self.metrics,
        )

    @classmethod
    def _joined(cls, join: Callable[[Sequence[Tensor]], Tensor], parts: Sequence[Readings]) -> Readings:
        """Readings whose tensors are made of the parts' tensors."""
        first = parts[0]
        logits = join([part.logits for part in parts])

        def gradients(pieces: Sequence[Readings]) -> tuple[Tensor, Tensor]:
            return join([piece.log_scale for piece in pieces]), join([piece.values for piece in pieces])

        log_scale, values = gradients(parts)
        further = {}
        for name in first.further:
            scale, numbers = gradients([part.further[name] for part in parts])
            further[name] = cls(logits, scale, first.layers, numbers, name, metrics=first.metrics)
        outputs = [part.activations for part in parts if part.activations is not None]
        embeddings = [part.embedding for part in parts if part.embedding is not None]
        return cls(
            logits,
            log_scale,
            first.layers,
            values,
            first.pseudo_label,
            further,
            Activations(outputs[0].layers, join([one.values for one in outputs])) if outputs else None,
            join(embeddings) if embeddings else None,
            {name: join([part.scores[name] for part in parts]) for name in first.scores},
            first.metrics,
        )

    def to_numpy(self) -> dict[str, np.ndarray]:
        """Columns by name.

        "prediction" and "log_scale" [N], "logits" [N, C], "layer/metric" [N]; then what else the meter was asked for:
        "pseudo_label", the first one's name where it is not "predicted"; "uniform:log_scale" and "uniform:layer/metric"
        for a further one, "activation:layer/metric", "score:name", and "embedding" [N, D].

        Raises:
            UnsupportedModelError: if two of them would have one name, as with layers "fc" and "uniform:fc".
        """
        layout = self._layout.unambiguous()
        columns = {
            "prediction": self.predictions.cpu().numpy(),
            "log_scale": self.log_scale.cpu().numpy(),
            "logits": plain_numbers(self.logits),
            **spread(layout.columns(""), self.values),
        }
        if self.pseudo_label != "predicted":
            columns[FIRST] = np.full(len(self), self.pseudo_label)
        for name, further in self.further.items():
            columns[f"{name}:log_scale"] = further.log_scale.cpu().numpy()
            columns |= spread(layout.columns(f"{name}:"), further.values)
        if self.activations is not None:
            columns |= spread(layout.columns(ACTIVATION), self.activations.values)
        columns |= {SCORE + name: score.cpu().numpy() for name, score in self.scores.items()}
        if self.embedding is not None:
            columns["embedding"] = plain_numbers(self.embedding)
        return columns

    def to_arrow(self) -> pa.Table:
        """A table with the columns of `to_numpy`; logits and embeddings are fixed-size lists."""
        arrays = {
            name: pa.array(np.ascontiguousarray(array))
            if array.ndim == 1
            else pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(array).reshape(-1)), array.shape[1])
            for name, array in self.to_numpy().items()
        }
        return pa.table(arrays).replace_schema_metadata({NOTE: self._layout.note()})

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Readings:
        """Readings from a table that `to_arrow` made, further columns of which are passed over.

        A table that lost its note on the way, through pandas or a database, is read by the names of its columns.

        Raises:
            DataError: if the table was made by something else or lacks a column.
        """
        layout = Layout.described(table)
        present = set(table.column_names)
        missing = [name for name in layout.needed if name not in present]
        if missing:
            raise DataError(f"the table of readings lacks {', '.join(missing)}; expected one that to_arrow made")

        def values(prefix: str, layers: int, metrics: int) -> Tensor:
            numbers = gathered(table, layout.columns(prefix))
            return torch.from_numpy(numbers).reshape(table.num_rows, layers, metrics)

        def column(name: str) -> Tensor:
            return torch.from_numpy(vector(table, name))

        logits = torch.from_numpy(matrix(table["logits"]))
        first, *further = (
            cls(
                logits,
                column(f"{prefix}log_scale"),
                layout.layers,
                values(prefix, len(layout.layers), len(layout.metrics)),
                name,
                metrics=layout.metrics,
            )
            for prefix, name in zip(layout.prefixes, layout.pseudo_labels, strict=True)
        )
        outputs = layout.outputs
        return replace(
            first,
            further={readings.pseudo_label: readings for readings in further},
            activations=None
            if outputs is None
            else Activations(outputs, values(ACTIVATION, len(outputs), len(ACTIVATION_METRICS))),
            embedding=torch.from_numpy(matrix(table["embedding"])) if layout.embedding else None,
            scores={name: column(SCORE + name) for name in layout.scores},
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
        # Opened by Python: Arrow takes no path that is not UTF-8.
        with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
            pq.write_table(self.to_arrow(), file, compression="zstd")

    @classmethod
    def read_parquet(cls, path: Path | str) -> Readings:
        """Readings from a file that `write_parquet` made, or from a folder of such files.

        Raises:
            DataError: if the file is missing, damaged or holds something else.
        """
        try:
            if Path(path).is_dir():
                table = pq.read_table(path)
            else:
                # Opened by Python: Arrow takes no path that is not UTF-8.
                with Path(path).open("rb") as file:
                    table = pq.read_table(file)
        except (OSError, UnicodeEncodeError, pa.ArrowInvalid) as error:
            raise DataError(f"{path} is no readable Parquet file: {one_line(error)}") from error
        return cls.from_arrow(table)
