"""Readings: the results of a meter, by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from gradmeter.errors import DataError, GradmeterError, InputError, one_line, warn
from gradmeter.reading.activations import Activations, select
from gradmeter.reading.columns import (
    ACTIVATION,
    BIASES,
    FIRST,
    NOTE,
    OUTPUTS,
    SCORE,
    Layout,
    gather,
    matrix,
    plain_numbers,
    spread,
    vector,
)
from gradmeter.reading.parts import part_of
from gradmeter.reading.statistics import ACTIVATION_METRICS, METRICS, STATISTICS
from gradmeter.tables import read_table, write_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Readings:
    """Gradient statistics of N samples, per layer and for the whole network.

    Without gradients (`GradientMeter(..., gradients=False)`) `layers` are empty, and `values` are [N, 0, metrics].

    Attributes:
        logits: [N, C] the network's output.
        log_scale: [N] float64; log(1 - p) of the predicted class for the pseudo-label "predicted", else the
            logarithm of the start vector's size.
        layers: names of the layers that own parameters, in the network's order, then "all"; empty without gradients.
        values: [N, layers, metrics] float64; statistics of the loss gradient, including its scale.
        pseudo_label: name of the pseudo-label of `values`.
        further: readings of the same samples for the meter's other pseudo-labels, by name; see `for_pseudo_label`.
        activations: statistics of the layers' outputs; None if the meter does not measure them.
        embedding: [N, D] input of the last layer; None if the meter does not keep it, or if no layer outputs the
            logits.
        scores: scores of the meter's probes, [N] float64 each, by name.
        metrics: names of the statistics, in the order of the last axis of `values`: those registered in
            `gradmeter.reading.statistics.STATISTICS` when the samples were measured.
        biases: whether the gradients include those of biases; True without gradients.
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
    biases: bool = True

    @property
    def pseudo_labels(self) -> tuple[str, ...]:
        """Names of the pseudo-labels; `values` belong to the first."""
        return (self.pseudo_label, *self.further)

    @property
    def predictions(self) -> Tensor:
        """Predicted classes, [N] int64."""
        return self.logits.argmax(dim=1)

    @property
    def finite(self) -> Tensor:
        """Whether all values of a sample are finite, [N] bool; log_scale may be -inf, for a zero start vector."""
        every = (self, *self.further.values())
        tensors = [self.logits, *(part.values for part in every), *(part.log_scale.exp() for part in every)]
        tensors += [] if self.activations is None else [self.activations.values]
        tensors += [] if self.embedding is None else [self.embedding]
        tensors += self.scores.values()
        finite = [torch.isfinite(tensor).unsqueeze(1).flatten(1).all(dim=1) for tensor in tensors]
        return torch.stack(finite).all(dim=0)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names "layer/metric" of the flattened last two axes of `values`."""
        return tuple(f"{layer}/{metric}" for layer in self.layers for metric in self.metrics)

    def for_pseudo_label(self, pseudo_label: str | int) -> Readings:
        """The readings for one of the pseudo-labels: readings.for_pseudo_label("uniform")["conv1", "l2"].

        Raises:
            InputError: if the pseudo-label was not measured.
        """
        return part_of(self, str(pseudo_label))

    def under(self, pseudo_label: str | int) -> Readings:
        """Deprecated; use `for_pseudo_label`."""
        warn(
            "Readings.under is deprecated and will be removed in version 0.3; use for_pseudo_label",
            DeprecationWarning,
        )
        return self.for_pseudo_label(pseudo_label)

    def led_by(self, pseudo_label: str) -> Readings:
        """The same readings with the given pseudo-label as the first.

        Raises:
            InputError: if the pseudo-label was not measured.
        """
        if pseudo_label == self.pseudo_label:
            return self
        first = self.for_pseudo_label(pseudo_label)
        previous = replace(self, further={}, activations=None, embedding=None, scores={})
        further = {self.pseudo_label: previous, **self.further}
        del further[pseudo_label]
        return replace(self, log_scale=first.log_scale, values=first.values, pseudo_label=pseudo_label, further=further)

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.logits)

    def __getitem__(self, key: tuple[str, str]) -> Tensor:
        """One statistic of one layer, [N] float64: readings["conv1", "l2"].

        Raises:
            InputError: if there is no such layer or statistic, or if the readings have no gradients.
        """
        if not self.layers:
            raise InputError("the readings have no gradients; expected those of a meter with gradients=True")
        return select(self.values, self.layers, self.metrics, key)

    def __repr__(self) -> str:
        """The shape and the names of the layers, without the values."""
        layers = f"layers: {', '.join(self.layers)}" if self.layers else "no gradients"
        return f"Readings({len(self)} samples, {self.logits.shape[1]} classes, {layers})"

    @classmethod
    def scaled(
        cls, logits: Tensor, log_scale: Tensor, layers: tuple[str, ...], statistics: Tensor, metrics: tuple[str, ...]
    ) -> Readings:
        """Readings from statistics [N, layers, metrics] of the gradient for a start vector of scale 1."""
        factor = log_scale.exp().reshape(-1, 1, 1)
        scales = torch.tensor([STATISTICS[metric].scales for metric in metrics], device=statistics.device)
        values = torch.where(scales, statistics * factor, statistics)
        return cls(logits, log_scale, layers, values, metrics=metrics)

    @classmethod
    def concatenate(cls, parts: Sequence[Readings]) -> Readings:
        """Concatenate readings of the same network and meter settings, in order.

        Raises:
            InputError: if there are none, or if their layers, pseudo-labels or other parts differ.
        """
        if not parts:
            raise InputError("no readings to concatenate; expected at least one")
        if any(part.layers != parts[0].layers for part in parts):
            raise InputError("cannot concatenate readings with different layers; expected readings of one network")
        if len({part._layout for part in parts}) > 1:
            raise InputError(
                "cannot concatenate readings that differ in pseudo-labels, statistics, biases, activations, embedding "
                "or scores; expected readings of one meter"
            )
        return cls._joined(lambda tensors: torch.cat(tuple(tensors)), parts)

    def without_gradients(self) -> Readings:
        """The readings of a meter with `gradients=False`."""
        return replace(self, layers=(), values=self.values[:, :0], further={}, biases=True)

    def with_scores(self, names: Collection[str]) -> Readings:
        """The readings with only these of their scores."""
        return replace(self, scores={name: score for name, score in self.scores.items() if name in names})

    def rows(self, rows: np.ndarray) -> Readings:
        """Readings of some of the samples, given their indices or a mask [N] bool."""
        index = torch.from_numpy(np.ascontiguousarray(rows)).to(self.values.device)
        return self._joined(lambda tensors: tensors[0][index], [self])

    @property
    def _layout(self) -> Layout:
        """Layout of the table that holds these readings."""
        return Layout(
            self.layers,
            self.pseudo_labels,
            None if self.activations is None else self.activations.layers,
            self.embedding is not None,
            tuple(self.scores),
            self.metrics,
            self.biases,
        )

    @classmethod
    def _joined(cls, join: Callable[[Sequence[Tensor]], Tensor], parts: Sequence[Readings]) -> Readings:
        """Readings whose tensors are the joined tensors of the parts."""
        first = parts[0]
        logits = join([part.logits for part in parts])

        def gradients(pieces: Sequence[Readings]) -> tuple[Tensor, Tensor]:
            return join([piece.log_scale for piece in pieces]), join([piece.values for piece in pieces])

        log_scale, values = gradients(parts)
        further = {}
        for name in first.further:
            further_scale, further_values = gradients([part.further[name] for part in parts])
            further[name] = cls(
                logits, further_scale, first.layers, further_values, name, metrics=first.metrics, biases=first.biases
            )
        outputs = [part.activations for part in parts if part.activations is not None]
        embeddings = [part.embedding for part in parts if part.embedding is not None]
        return cls(
            logits,
            log_scale,
            first.layers,
            values,
            first.pseudo_label,
            further,
            Activations(outputs[0].layers, join([output.values for output in outputs])) if outputs else None,
            join(embeddings) if embeddings else None,
            {name: join([part.scores[name] for part in parts]) for name in first.scores},
            first.metrics,
            first.biases,
        )

    def to_numpy(self) -> dict[str, np.ndarray]:
        """Columns by name.

        "prediction" and "log_scale" [N], "logits" [N, C], "layer/metric" [N]. Depending on the meter's settings also
        "pseudo_label", the name of the first pseudo-label if it is not "predicted"; "uniform:log_scale" and
        "uniform:layer/metric" for a further pseudo-label; "activation:layer/metric", "score:name" and "embedding"
        [N, D]; "biases", False, if the gradients leave out biases; and "outputs", False, if no layer's output can be
        read for the activations.

        Raises:
            UnsupportedModelError: if two columns would have the same name, as with layers "fc" and "uniform:fc".
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
        if not self.biases:
            columns[BIASES] = np.full(len(self), False)
        for name, further in self.further.items():
            columns[f"{name}:log_scale"] = further.log_scale.cpu().numpy()
            columns |= spread(layout.columns(f"{name}:"), further.values)
        if self.activations is not None:
            if not self.activations.layers:
                columns[OUTPUTS] = np.full(len(self), False)
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
        """Readings from a table written by `to_arrow`; other columns are ignored.

        A table that lost its metadata, for example in pandas or a database, is read by its column names.

        Raises:
            DataError: if the table holds no readings, or lacks a column or has it twice.
        """
        layout = Layout.described(table)
        present = set(table.column_names)
        missing = [name for name in layout.needed if name not in present]
        if missing:
            raise DataError(f"the table lacks the columns {', '.join(missing)}; expected a table written by to_arrow")

        def values(prefix: str, layers: int, metrics: int) -> Tensor:
            numbers = gather(table, layout.columns(prefix))
            return torch.from_numpy(numbers).reshape(table.num_rows, layers, metrics)

        def column(name: str) -> Tensor:
            return torch.from_numpy(vector(table, name))

        logits = torch.from_numpy(matrix(table, "logits"))
        first, *further = (
            cls(
                logits,
                column(f"{prefix}log_scale"),
                layout.layers,
                values(prefix, len(layout.layers), len(layout.metrics)),
                name,
                metrics=layout.metrics,
                biases=layout.biases,
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
            embedding=torch.from_numpy(matrix(table, "embedding")) if layout.embedding else None,
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
            raise GradmeterError("to_pandas requires pandas, which is not installed; run pip install pandas") from error

    @classmethod
    def from_pandas(cls, frame: pd.DataFrame) -> Readings:
        """Readings from a frame returned by `to_pandas` or read from the Parquet files of a measurement.

        Raises:
            DataError: as `from_arrow` does.
        """
        layout = Layout.named([name for name in frame.columns if isinstance(name, str)])
        wanted = {"prediction", FIRST, BIASES, OUTPUTS, *layout.needed}
        names, arrays = [], []
        for name, column in frame.items():
            if name not in wanted:
                continue
            names.append(name)
            try:
                # Only the name of "prediction" is read.
                arrays.append(pa.nulls(len(frame)) if name == "prediction" else pa.array(column))
            except Exception as error:  # of any type: Arrow calls methods of the objects in a column
                raise DataError(
                    f"column {name!r} has dtype {column.dtype} and cannot be converted to Arrow "
                    f"({one_line(error):.200}); expected a column of to_pandas"
                ) from error
        return cls.from_arrow(pa.table(arrays, names=names))

    def write_parquet(self, path: Path | str) -> None:
        """Write the table of `to_arrow` to one Parquet file, atomically.

        Raises:
            OutputError: if the file cannot be written.
        """
        write_table(Path(path), self.to_arrow())

    @classmethod
    def read_parquet(cls, path: Path | str) -> Readings:
        """Readings from a file written by `write_parquet`, or from a folder of such files.

        Raises:
            DataError: if the file is missing or damaged, or holds no readings.
        """
        try:
            table = pq.read_table(path) if Path(path).is_dir() else read_table(Path(path))
        except (OSError, UnicodeEncodeError, pa.ArrowInvalid) as error:
            raise DataError(f"cannot read {path} as a Parquet file: {one_line(error)}") from error
        return cls.from_arrow(table)
