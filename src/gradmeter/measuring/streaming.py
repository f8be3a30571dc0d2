"""From a classifier and a source to a data set of rows, in memory that does not grow with the source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from gradmeter.errors import DataError, InputError
from gradmeter.measuring.dataset import MeasuredSet, Skipped
from gradmeter.measuring.loading import Batch, load_batches
from gradmeter.meter import GradientMeter
from gradmeter.models import Classifier
from gradmeter.models.classifier import wrong_names
from gradmeter.network import weights_hash
from gradmeter.readings import Readings
from gradmeter.samples import Source

# Samples of a part: what a killed run loses at most.
_PART = 1024
# Samples that are loaded at once; the meter cuts them further.
_BATCH = 256


@dataclass(frozen=True)
class Work:
    """How to work through a source, and whom to tell.

    Attributes:
        device: where the network runs.
        workers: processes that read and prepare samples ahead; 0 for none.
        fresh: start anew where the folder holds rows already.
        on_start: told the name of a source and the number of its samples.
        on_progress: told how many samples were done since it was told last, those of earlier runs first.
        on_skip: told of each sample that cannot be read, those of earlier runs first.
        on_note: told in a sentence what one should know of the work.
    """

    device: str = "cpu"
    workers: int = 0
    fresh: bool = False
    on_start: Callable[[str, int], None] = field(default=lambda name, samples: None)
    on_progress: Callable[[int], None] = field(default=lambda samples: None)
    on_skip: Callable[[Skipped], None] = field(default=lambda skipped: None)
    on_note: Callable[[str], None] = field(default=lambda note: None)


@dataclass(frozen=True)
class Measured:
    """What a measurement came to, earlier runs of it included.

    Attributes:
        rows: samples that were measured.
        skipped: samples that could not be read.
    """

    rows: int
    skipped: tuple[Skipped, ...]


def measure(classifier: Classifier, source: Source, folder: Path, work: Work | None = None) -> Measured:
    """Read every sample's gradient and write it to a Parquet data set; go on where an earlier run was killed.

    Its columns are "id", "label" where the source has labels (the network's numbers), "probabilities", and those of
    `Readings.to_arrow`: "prediction", "log_scale", "logits" and "layer/metric", and those of what else
    `GradientMeter.extended` reads.

    Args:
        classifier: the network and its preprocessing.
        source: the samples.
        folder: the data set.
        work: how to go about it.

    Raises:
        InputError: if there is no such device.
        DataError: if the classes of the source are not the network's, or none of its samples can be read.
        OutputError: if the folder holds something else, or cannot be written.
    """
    numbers, work = classifier.class_numbers(source), work or Work()
    numbering = classifier.numbering(source)
    if numbering is not None:
        work.on_note(numbering)
    return stream(
        GradientMeter(classifier.network).extended(),
        classifier,
        source,
        folder,
        purpose_of(classifier, source),
        lambda batch, readings: _table(classifier, source, batch, readings, numbers),
        work,
    )


def stream(
    meter: GradientMeter,
    classifier: Classifier,
    source: Source,
    folder: Path,
    purpose: Mapping[str, Any],
    tabulate: Callable[[Batch, Readings], pa.Table],
    work: Work,
) -> Measured:
    """Write rows made of every sample's readings to a Parquet data set; go on where an earlier run was killed.

    Args:
        meter: of the classifier's network.
        classifier: the network and its preprocessing.
        source: the samples.
        folder: the data set.
        purpose: what tells this from other work in the same folder.
        tabulate: from a batch and its readings to rows, one for each sample that could be read.
        work: how to go about it.

    Raises:
        Those of `measure`.
    """
    measured = MeasuredSet.begin(folder, purpose, fresh=work.fresh)
    count = len(source)
    parts = [range(start, min(start + _PART, count)) for start in range(0, count, _PART)]
    work.on_start(source.name, count)
    rows, skipped = 0, list[Skipped]()
    for part, samples in enumerate(parts):
        if measured.done(part):
            found = measured.count(part)
            rows, skipped = rows + found[0], skipped + found[1]
            work.on_progress(len(samples))
    if done := rows + len(skipped):
        work.on_note(f"{source.name}: {done:,} of {count:,} samples were done before")
    for one in skipped:
        work.on_skip(one)
    left = [part for part in range(len(parts)) if not measured.done(part)]
    batches = read(meter, classifier, source, [batch for part in left for batch in _cut(parts[part])], work)
    for part in left:
        tables: list[pa.Table] = []
        missed: list[Skipped] = []
        for _ in _cut(parts[part]):
            batch, readings = next(batches)
            if readings is not None:
                tables.append(tabulate(batch, readings))
            missed += batch.skipped
        table = pa.concat_tables(tables) if tables else None
        measured.write(part, table, missed)
        rows, skipped = rows + (table.num_rows if table is not None else 0), skipped + missed
    if not rows:
        raise none_readable(source, skipped)
    return Measured(rows, tuple(skipped))


def read(
    meter: GradientMeter, classifier: Classifier, source: Source, batches: Sequence[range], work: Work
) -> Iterator[tuple[Batch, Readings | None]]:
    """Batches of samples with their readings, None for those none of whose samples can be read.

    Raises:
        InputError: if there is no such device, or not one name for each class.
    """
    try:
        classifier.network.to(work.device)
    except (RuntimeError, AssertionError) as error:  # torch raises both where there is no such device
        reason = str(error).partition("\n")[0]
        raise InputError(f"--device {work.device}: {reason}; expected {_devices()}") from error
    for batch in load_batches(source, classifier.batch, batches, work.workers):
        for one in batch.skipped:
            work.on_skip(one)
        readings = meter(_moved(batch.inputs, work.device)) if batch.ids else None
        if readings is not None and len(classifier.classes or readings.logits[0]) != readings.logits.shape[1]:
            raise wrong_names(classifier, readings.logits.shape[1])
        work.on_progress(len(batch.ids) + len(batch.skipped))
        yield batch, readings


def none_readable(source: Source, skipped: Sequence[Skipped]) -> DataError:
    """The error for a source all of whose samples were skipped."""
    return DataError(
        f"{source.name}: none of {len(source):,} samples can be read ({skipped[0].id}: {skipped[0].reason})"
    )


def all_batches(source: Source) -> list[range]:
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
        "samples": len(source),
        "contents": source.fingerprint(),
    }


def _cut(samples: range) -> list[range]:
    return [samples[at : at + _BATCH] for at in range(0, len(samples), _BATCH)]


def _devices() -> str:
    """What `--device` takes on this machine."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    found = [name for name, available in there.items() if available]
    return f"{' or '.join(['cpu', *found])}, the devices of this machine" if found else "cpu, there is no other here"


def _moved(inputs: Any, device: str) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    if isinstance(inputs, Mapping):
        return {name: _moved(value, device) for name, value in inputs.items()}
    return inputs


def _table(
    classifier: Classifier, source: Source, batch: Batch, readings: Readings, numbers: dict[int, int] | None
) -> pa.Table:
    table = readings.to_arrow()
    if source.labelled:
        labels = [numbers[label] if numbers and label is not None else label for label in batch.labels]
        wrong = [label for label in labels if label is not None and not 0 <= label < readings.logits.shape[1]]
        if wrong:
            raise DataError(
                f"{source.name} has label {wrong[0]}, but {classifier.name} has classes 0 to "
                f"{readings.logits.shape[1] - 1}; expected the network's classes"
            )
        table = table.add_column(0, "label", pa.array(labels, pa.int64()))
    probabilities = readings.logits.double().softmax(1).float().cpu().numpy()
    column = pa.FixedSizeListArray.from_arrays(pa.array(probabilities.reshape(-1)), probabilities.shape[1])
    table = table.add_column(table.column_names.index("log_scale"), "probabilities", column)
    return table.add_column(0, "id", pa.array(batch.ids, pa.string()))
