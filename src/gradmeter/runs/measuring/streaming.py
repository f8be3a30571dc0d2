"""From a classifier and a source to a data set of rows, in memory that does not grow with the source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from gradmeter.errors import DataError, InputError
from gradmeter.names import decode_name, encode_name
from gradmeter.reading.content import HASH_COLUMN, content_hashes
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.network import weights_hash
from gradmeter.reading.readings import Readings
from gradmeter.runs.engines.ray import require_ray
from gradmeter.runs.measuring.dataset import PART, MeasuredSet, Skipped
from gradmeter.runs.measuring.loading import Batch, load_batches, processes_may_end
from gradmeter.runs.measuring.on_ray import part_size, ray_parts
from gradmeter.runs.measuring.reader import Reader
from gradmeter.runs.measuring.remaining import remaining
from gradmeter.runs.measuring.work import BATCH, Measured, Work
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import Source, scheme_of
from gradmeter.sources.samples.location import is_address

ENGINES = ("local", "ray")
"""Where samples can be worked through."""


def measure(classifier: Classifier, source: Source, folder: str | Path, work: Work | None = None) -> Measured:
    """Read every sample's gradient and write it to a Parquet data set; go on where an earlier run was killed.

    Its columns are "id", "label" where the source has labels (the network's numbers), "probabilities", those of
    `Readings.to_arrow`: "prediction", "log_scale", "logits" and "layer/metric", and those of what else
    `GradientMeter.for_trust_model` reads; and "content_hash", equal for equal inputs of the network.

    Args:
        classifier: the network and its preprocessing.
        source: the samples.
        folder: the data set; a path, or the address of a folder in an object store.
        work: how to go about it.

    Raises:
        InputError: if there is no such device or engine.
        DataError: if the classes of the source are not the network's, or none of its samples can be read.
        OutputError: if the folder holds something else, or cannot be written.
    """
    numbers, work = classifier.class_numbers(source), work or Work()
    rows = _Rows(classifier.name, source.name, source.labelled, numbers)
    reader = Reader(GradientMeter(classifier.network).for_trust_model(), classifier, rows)
    return stream(reader, source, folder, purpose_of(classifier, source), work, classifier.numbering(source))


def stream(
    reader: Reader,
    source: Source,
    folder: str | Path,
    purpose: Mapping[str, Any],
    work: Work,
    note: str | None = None,
) -> Measured:
    """Write rows made of every sample's readings to a Parquet data set; go on where an earlier run was killed.

    Args:
        reader: from batches of samples to rows.
        source: the samples.
        folder: the data set, as `measure` takes it.
        purpose: what tells this from other work in the same folder.
        work: how to go about it.
        note: what to say when it has begun.

    Raises:
        Those of `measure`.
    """
    if work.engine not in ENGINES:
        raise InputError(f"engine {work.engine!r}; expected {' or '.join(ENGINES)}")
    on_ray = work.engine == "ray"
    if on_ray:
        require_ray()  # before anything is begun
    part = part_size(source) if on_ray else PART
    containers = source.containers()
    measured = MeasuredSet.begin(folder, purpose, containers=containers, part=part, fresh=work.fresh)
    left, count = remaining(measured, source), len(source)
    if note is not None:
        work.on_note(note)
    work.on_start(source.name, count)
    tell_left_out(source, work)
    if done := count - len(left):
        work.on_progress(done)
        work.on_note(f"{source.name}: {done:,} of {count:,} samples were done before")
    if left.gone:
        are, them = ("sample is", "it") if len(left.gone) == 1 else ("samples are", "them")
        work.on_note(f"{source.name}: {len(left.gone):,} {are} gone since; what was read of {them} is kept")
    for one in measured.progress()[1]:
        work.on_skip(one)
    if left.parts:
        with processes_may_end():
            (ray_parts if on_ray else _local_parts)(reader, source, left.parts, measured, work)
    rows, missed = measured.finish(left.gone)
    if not rows:
        raise none_readable(source, missed)
    return Measured(rows, missed)


def _local_parts(
    reader: Reader, source: Source, parts: Mapping[int, Sequence[int]], measured: MeasuredSet, work: Work
) -> None:
    """Write the parts in this process."""
    batches = read(reader, source, [batch for samples in parts.values() for batch in _cut(samples)], work)
    for part, samples in parts.items():
        tables: list[pa.Table] = []
        missed: list[Skipped] = []
        for _ in _cut(samples):
            batch, readings = next(batches)
            if readings is not None:
                tables.append(reader.tabulate(batch, readings))
            missed += batch.skipped
        measured.write(part, pa.concat_tables(tables) if tables else None, missed)


def read(
    reader: Reader, source: Source, batches: Sequence[Sequence[int]], work: Work
) -> Iterator[tuple[Batch, Readings | None]]:
    """Batches of samples with their readings, None for those none of whose samples can be read.

    Raises:
        InputError: if there is no such device, or not one name for each class.
    """
    reader.move(work.device)
    for batch in load_batches(source, reader.classifier.batch, batches, work.workers):
        batch, readings = reader.readings(batch, work.device)
        for one in batch.skipped:
            work.on_skip(one)
        work.on_progress(len(batch.ids) + len(batch.skipped))
        yield batch, readings


def tell_left_out(source: Source, work: Work) -> None:
    """Say what lies beside the samples and is none."""
    if source.left_out:
        work.on_note(f"{source.name}: left out {source.left_out}")


def none_readable(source: Source, skipped: Sequence[Skipped]) -> DataError:
    """The error for a source all of whose samples were skipped."""
    return DataError(
        f"{source.name}: none of {len(source):,} samples can be read ({skipped[0].id}: {skipped[0].reason})"
    )


def all_batches(source: Source) -> list[Sequence[int]]:
    """The whole source, cut into batches."""
    return _cut(range(len(source)))


def purpose_of(classifier: Classifier, source: Source) -> dict[str, Any]:
    """What tells one measurement from another."""
    return {
        "model": classifier.name,
        "weights": weights_hash(classifier.network),
        "classes": classifier.classes,
        "preprocessing": repr(classifier.batch),
        "data": source.name,
        "place": place_of(source),
        "samples": len(source),
        "names of classes": source.classes,
        "contents": source.fingerprint(),
    }


def place_of(source: Source) -> str:
    """Where DATA is, whatever the current folder: elsewhere the same names may be those of other samples."""
    name = decode_name(source.name)
    return source.name if scheme_of(name) or is_address(name) else encode_name(os.path.abspath(name))


def _cut(samples: Sequence[int]) -> list[Sequence[int]]:
    return [samples[at : at + BATCH] for at in range(0, len(samples), BATCH)]


@dataclass(frozen=True)
class _Rows:
    """From readings to the rows of `measure`; it may be sent to another process, and holds no samples.

    Attributes:
        model: name of the classifier.
        data: name of the source.
        labelled: whether the source has labels.
        numbers: from its numbers of classes to the network's; None where they are the same.
    """

    model: str
    data: str
    labelled: bool
    numbers: dict[int, int] | None

    def __call__(self, batch: Batch, readings: Readings) -> pa.Table:
        table = readings.to_arrow()
        if self.labelled:
            table = table.add_column(0, "label", pa.array(self._labels(batch, readings.logits.shape[1]), pa.int64()))
        probabilities = readings.logits.double().softmax(1).float().cpu().numpy()
        column = pa.FixedSizeListArray.from_arrays(pa.array(probabilities.reshape(-1)), probabilities.shape[1])
        table = table.add_column(table.column_names.index("log_scale"), "probabilities", column)
        table = table.append_column(HASH_COLUMN, pa.array(content_hashes(batch.inputs)))
        return table.add_column(0, "id", pa.array(batch.ids, pa.string()))

    def _labels(self, batch: Batch, classes: int) -> list[int | None]:
        known = range(classes) if self.numbers is None else self.numbers
        wrong = [label for label in batch.labels if label is not None and label not in known]
        if wrong:
            whose = f"{self.model} has" if self.numbers is None else "it names"
            raise DataError(
                f"{self.data} has label {wrong[0]}, but {whose} classes 0 to {len(known) - 1}; expected the number of "
                "one of them"
            )
        if self.numbers is None:
            return batch.labels
        return [None if label is None else self.numbers[label] for label in batch.labels]
