"""Gradients of samples at many labels: each pair of a sample and a label is read once, and may be kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradmeter.errors import DataError
from gradmeter.reading.content import content_hashes
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.pseudo_labels import LABELS
from gradmeter.reading.readings import Readings
from gradmeter.research.own_files import own_file
from gradmeter.tables import read_table, write_table
from gradmeter.trust.labels import LabelReadings

_BATCH = 200
_ROW, _LABEL, _VALUES = "row", "label", "values"

Labels = NDArray[np.int64]
Values = NDArray[np.float64]


class PairReader:
    """Readings of some samples at any labels.

    Args:
        networks: in eval mode; they differ at most in the last layer.
        inputs: [N, ...] the samples.
        folder: where the readings are kept; None to keep them in memory.
        folds: [N] the network that reads each sample; by default the first.
    """

    def __init__(
        self, networks: Sequence[nn.Module], inputs: Tensor, folder: Path | None, folds: Labels | None = None
    ) -> None:
        self._inputs, self._folder = inputs, folder
        self._folds = np.zeros(len(inputs), np.int64) if folds is None else folds
        self._meters = [GradientMeter(network, embedding=True) for network in networks]
        self.forward = self._read_forward()
        self._classes = self.forward.logits.shape[1]
        # For each pair its place in `_values`; -1 if it was not read.
        self._places = np.full(len(inputs) * self._classes, -1)
        self._values: list[NDArray[np.float32]] = []
        self._count = 0
        self._new: list[tuple[Labels, Labels, NDArray[np.float32]]] = []
        self._parts = 0 if folder is None else self._load(folder)

    @property
    def probabilities(self) -> Values:
        """The softmax [N, C] of the networks, in float64."""
        softmax: Values = self.forward.logits.double().softmax(1).numpy()
        return softmax

    def labelled(self, labels: Labels) -> LabelReadings:
        """Return what a check of labels [N] reads."""
        return LabelReadings(
            labels,
            self.forward.logits.numpy(),
            embedding_of(self.forward),
            given=self.at(np.arange(len(labels)), labels),
            at=self.at,
            contents=content_hashes(self._inputs),
        )

    def at(self, rows: Labels, labels: Labels) -> Readings:
        """Return the readings of some rows [n] at labels [n], with the logits and the embedding."""
        pairs = rows * self._classes + labels
        missing = np.unique(pairs[self._places[pairs] < 0])
        for fold, meter in enumerate(self._meters):
            own = missing[self._folds[missing // self._classes] == fold]
            for start in range(0, len(own), _BATCH):
                row, label = np.divmod(own[start : start + _BATCH], self._classes)
                values = meter(self._inputs[row], torch.from_numpy(label)).values.float().numpy()
                self._add(row, label, values)
                self._new.append((row, label, values))
        forward = self.forward.rows(rows)
        # log(1 - p) from the other classes: 1 - p rounds to 0.
        others = forward.logits.double().log_softmax(1)
        others[torch.arange(len(rows)), torch.from_numpy(labels)] = -torch.inf
        return Readings(
            forward.logits,
            others.logsumexp(1),
            self._meters[0].layers,
            torch.from_numpy(self._gathered(pairs)).double(),
            LABELS,
            embedding=forward.embedding,
        )

    def keep(self) -> None:
        """Write what was read since the last call."""
        if not self._new or self._folder is None:
            return
        rows, labels, values = (np.concatenate(column) for column in zip(*self._new, strict=True))
        flat = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values[0].size)
        table = pa.table({_ROW: rows, _LABEL: labels, _VALUES: flat})
        write_table(self._folder / f"pairs-{self._parts:04d}.parquet", table)
        self._new, self._parts = [], self._parts + 1

    def _read_forward(self) -> Readings:
        path = None if self._folder is None else self._folder / "forward.parquet"
        if path is not None and path.exists():
            return Readings.read_parquet(path)
        parts, rows = [], []
        for fold, meter in enumerate(self._meters):
            forward, own = (
                GradientMeter(meter.model, gradients=False, embedding=True),
                np.flatnonzero(self._folds == fold),
            )
            for batch in np.array_split(own, -(-len(own) // _BATCH)):
                parts.append(forward(self._inputs[batch]))
                rows.append(batch)
        readings = Readings.concatenate(parts).rows(np.argsort(np.concatenate(rows)))
        if path is not None:
            readings.write_parquet(path)
        return readings

    def _load(self, folder: Path) -> int:
        paths = sorted(folder.glob("pairs-*.parquet"))
        for path in paths:
            with own_file(path):
                table = read_table(path)
            values = table[_VALUES].combine_chunks().flatten().to_numpy()
            shape = len(table), len(self._meters[0].layers), -1
            self._add(table[_ROW].to_numpy(), table[_LABEL].to_numpy(), values.reshape(shape))
        # Not their number: a damaged part that was deleted leaves a gap.
        return int(paths[-1].stem.rpartition("-")[2]) + 1 if paths else 0

    def _add(self, rows: Labels, labels: Labels, values: NDArray[np.float32]) -> None:
        self._places[rows * self._classes + labels] = self._count + np.arange(len(rows))
        self._values.append(values)
        self._count += len(rows)

    def _gathered(self, pairs: Labels) -> NDArray[np.float32]:
        if len(self._values) > 1:
            self._values = [np.concatenate(self._values)]
        gathered: NDArray[np.float32] = self._values[0][self._places[pairs]]
        return gathered


def embedding_of(readings: Readings) -> NDArray[np.float32]:
    """Return the input of the last layer, [N, D].

    Raises:
        DataError: if the network has none.
    """
    if readings.embedding is None:
        raise DataError("the network has no dense last layer; expected one, whose input is the embedding")
    embedding: NDArray[np.float32] = readings.embedding.float().numpy()
    return embedding
