"""Reading the samples whose labels are checked: one pass over DATA, and with gradients a second look at some."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.errors import DataError
from gradmeter.reading.columns import matrix
from gradmeter.reading.content import HASH_COLUMN, content_hashes
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings
from gradmeter.runs.measuring import MeasuredSet, Skipped, Work
from gradmeter.runs.measuring.loading import Batch
from gradmeter.runs.measuring.reader import Reader
from gradmeter.runs.measuring.streaming import purpose_of, stream
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import Encoded, Source, no_labels
from gradmeter.sources.samples.file_versions import FileVersions
from gradmeter.trust.labels import LabelReadings
from gradmeter.trust.labels.inputs import Labels
from gradmeter.trust.labels.on_disk import on_disk

_NO_LABEL = "it has no label"


@dataclass(frozen=True, eq=False)
class ReadLabels:
    """The samples that were read, in the order of the data.

    Attributes:
        inputs: their readings.
        ids: [N] their ids.
        indices: [N] their indices in the source.
        skipped: samples that could not be read, or have no label.
    """

    inputs: LabelReadings
    ids: pa.ChunkedArray
    indices: Labels
    skipped: tuple[Skipped, ...]


class Part(Source):
    """Some samples of another source, each with another label.

    Args:
        source: the other source.
        indices: the samples' indices in it.
    """

    def __init__(self, source: Source, indices: Labels) -> None:
        self.name, self.classes, self.labelled = source.name, source.classes, source.labelled
        self.texts, self.arrays = source.texts, source.arrays
        self.decoder, self.at_once = source.decoder, source.at_once
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        """The number of samples."""
        return len(self._indices)

    def id(self, index: int) -> str:
        """The id of one sample."""
        return self._source.id(int(self._indices[index]))

    def fetch(self, index: int) -> Encoded:
        """Read one sample."""
        return self._source.fetch(int(self._indices[index]))

    def fingerprint(self) -> str:
        """A hash of the other source and the indices."""
        digest = hashlib.sha256(self._source.fingerprint().encode())
        digest.update(np.ascontiguousarray(self._indices).tobytes())
        return digest.hexdigest()

    def file_versions(self) -> FileVersions:
        """Those of the other source."""
        return self._source.file_versions()


@dataclass(frozen=True)
class GivenClasses:
    """Maps the labels of a batch to the network's classes; it can be pickled.

    Attributes:
        data: name of the source.
        model: name of the classifier.
        classes: number of classes of the network.
        numbers: maps the source's class numbers to the network's; None if they are equal.
    """

    data: str
    model: str
    classes: int
    numbers: dict[int, int] | None

    def __call__(self, batch: Batch) -> Tensor:
        """Return the classes [N].

        Raises:
            DataError: if a label is not a class of the network.
        """
        labels = [label for label in batch.labels if label is not None]
        known = range(self.classes) if self.numbers is None else self.numbers
        if wrong := [label for label in labels if label not in known]:
            raise DataError(
                f"{self.data} has label {wrong[0]}, but {self.model} has classes 0 to {self.classes - 1}; expected the "
                "number of one of these classes"
            )
        return torch.tensor(labels if self.numbers is None else [self.numbers[label] for label in labels])


@dataclass(frozen=True)
class OtherClasses:
    """The classes of samples by id; it can be pickled."""

    by_id: Mapping[str, int]

    def __call__(self, batch: Batch) -> Tensor:
        """Return the classes [N]."""
        return torch.tensor([self.by_id[name] for name in batch.ids])


@dataclass(frozen=True)
class LabelReader(Reader):
    """A reader that skips samples without a label."""

    def readings(self, batch: Batch, device: str) -> tuple[Batch, Readings | None]:
        """Measure a batch as `Reader.readings` does."""
        unlabelled = {row: _NO_LABEL for row, label in enumerate(batch.labels) if label is None}
        return super().readings(batch.without(unlabelled) if unlabelled else batch, device)


@dataclass(frozen=True)
class Rows:
    """Turns readings into rows: "id", "label", the content's hash, and the columns of the readings."""

    classes: GivenClasses | OtherClasses

    def __call__(self, batch: Batch, readings: Readings) -> pa.Table:
        """Return the rows of a batch."""
        table = readings.to_arrow().append_column(HASH_COLUMN, pa.array(content_hashes(batch.inputs)))
        table = table.add_column(0, "label", pa.array(self.classes(batch).numpy(), pa.int64()))
        return table.add_column(0, "id", pa.array(batch.ids, pa.string()))


def read_samples(classifier: Classifier, source: Source, folder: Path, work: Work, *, gradients: bool) -> ReadLabels:
    """Read all samples into a folder, or continue an earlier run.

    The readings can read gradients at chosen labels later. Logits and embeddings go to temporary files, so that memory
    grows only a little with the number of samples; with gradients, it grows with the number of layers.

    Args:
        classifier: the network and its preprocessing.
        source: the samples.
        folder: folder of the readings.
        work: device, engine and callbacks.
        gradients: whether to read gradients at all given labels now.

    Raises:
        DataError: if the source has no labels or other classes than the network, or no sample can be read.
        OutputError: if the folder holds something else or cannot be written.
    """
    if not source.labelled:
        raise no_labels(source.name)
    numbers = classifier.class_numbers(source)
    classes = GivenClasses(source.name, classifier.name, classifier.outputs, numbers)
    meter = GradientMeter(classifier.network, gradients=gradients, embedding=True)
    reader = LabelReader(meter, classifier, Rows(classes), classes)
    purpose = {**purpose_of(classifier, source, gradients=gradients), "read for": "labels"}
    path = folder / ("gradients" if gradients else "forward")
    stream(reader, source, path, purpose, work, classifier.numbering(source))
    read = _collect(MeasuredSet(path), source, gradients=gradients)
    meter = GradientMeter(classifier.network, embedding=True)
    numbers_of_calls = count()

    def at(rows: Labels, labels: Labels) -> Readings:
        names = read.ids.take(pa.array(rows)).to_pylist()
        others = OtherClasses(dict(zip(names, labels.tolist(), strict=True)))
        again = LabelReader(meter, classifier, Rows(others), others)
        part = Part(source, read.indices[rows])
        digest = hashlib.sha256(np.ascontiguousarray(labels).tobytes()).hexdigest()
        of_part = {**purpose_of(classifier, part), "read for": "chosen labels", "labels": digest}
        # A run that continues an earlier one asks for the same labels in the same order.
        target = folder / f"chosen-{next(numbers_of_calls)}"
        earlier = MeasuredSet(target)
        stale = earlier.exists() and earlier.purpose() != of_part
        stream(again, part, target, of_part, replace(work, fresh=work.fresh or stale))
        tables = pa.concat_tables(MeasuredSet(target).tables())
        where = {name: position for position, name in enumerate(tables["id"].to_pylist())}
        if missing := [name for name in names if name not in where]:
            raise DataError(f"{source.name}: {missing[0]} was read once and cannot be read again; run with --fresh")
        return Readings.from_arrow(tables.take([where[name] for name in names]))

    return replace(read, inputs=replace(read.inputs, at=at))


def _collect(measured: MeasuredSet, source: Source, *, gradients: bool) -> ReadLabels:
    """Collect the rows of a measurement in the order of the data, without those of samples that no longer exist."""
    gone = measured.gone()
    skipped = tuple(sample for sample in measured.progress()[1] if sample.id not in gone)
    ids = pa.chunked_array([chunk for table in measured.tables(["id"]) for chunk in table["id"].chunks], pa.string())
    indices = _indices(source, ids)
    kept = np.flatnonzero(indices >= 0)
    order = kept[np.argsort(indices[kept], kind="stable")]
    position = np.full(len(ids), -1, np.int64)
    position[order] = np.arange(len(order))
    arrays: dict[str, NDArray[Any]] = {}
    given: list[Readings] = []
    start = 0
    for table in measured.tables():
        to = position[start : start + len(table)]
        present = to >= 0
        columns = {name: matrix(table, name) for name in ("logits", "embedding") if name in table.column_names}
        columns.setdefault("embedding", columns["logits"])
        columns |= {name: table[name].to_numpy() for name in ("label", HASH_COLUMN)}
        for name, values in columns.items():
            if name not in arrays:
                shape = (len(order), *values.shape[1:])
                arrays[name] = on_disk(shape, values.dtype) if len(shape) > 1 else np.empty(shape, values.dtype)
            arrays[name][to[present]] = values[present]
        if gradients:
            given.append(Readings.from_arrow(table))
        start += len(table)
    inputs = LabelReadings(
        arrays["label"],
        arrays["logits"],
        arrays["embedding"],
        given=Readings.concatenate(given).rows(order) if gradients else None,
        contents=arrays[HASH_COLUMN],
    )
    return ReadLabels(inputs, ids.take(pa.array(order)), indices[order], skipped)


def _indices(source: Source, ids: pa.ChunkedArray) -> Labels:
    """Return the index of each id in the source; -1 for a sample that no longer exists."""
    count = len(source)
    names = (name for chunk in ids.chunks for name in chunk.to_pylist())
    if len(ids) == count and all(source.id(index) == name for index, name in enumerate(names)):
        return np.arange(count)
    numbers = {source.id(index): index for index in range(count)}
    return np.array([numbers.get(name, -1) for name in ids.to_pylist()], np.int64)
