"""Measuring a source into a data set, in memory that does not grow with the number of samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import pyarrow as pa

from gradmeter.errors import DataError, InputError
from gradmeter.reading.content import HASH_COLUMN, content_hashes
from gradmeter.reading.inputs import MASK
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.network import weights_hash
from gradmeter.reading.readings import Readings
from gradmeter.runs.engines.ray import require_ray
from gradmeter.runs.measuring.dataset import PART, MeasuredSet, Skipped
from gradmeter.runs.measuring.filling import cut, fill, place_of
from gradmeter.runs.measuring.loading import Batch, explain_dead_workers, load_batches
from gradmeter.runs.measuring.on_ray import part_size, ray_parts
from gradmeter.runs.measuring.purpose import CLASSES, LABELLED, OUTPUTS, PLACE
from gradmeter.runs.measuring.reader import Reader
from gradmeter.runs.measuring.work import Measured, Work
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import Source

ENGINES = ("local", "ray")
"""Engines that can measure samples."""


def measure(
    classifier: Classifier,
    source: Source,
    folder: str | Path,
    work: Work | None = None,
    *,
    gradients: bool = True,
    second_look: bool = True,
    layers: tuple[str, ...] = (),
) -> Measured:
    """Measure every sample of a source and write the rows to a Parquet data set, or continue an earlier run.

    The columns are "id"; "label", the network's class number, if the source has labels; "probabilities"; those of
    `Readings.to_arrow`: "prediction", "log_scale", "logits", "layer/metric", and columns for everything else that
    `GradientMeter.for_trust_model` reads; and "content_hash", which is equal for equal inputs of the network.

    Args:
        classifier: the network and its preprocessing.
        source: the samples.
        folder: the data set; a path, or the address of a folder in an object store.
        work: device, engine, callbacks; by default `Work()`.
        gradients: whether to measure gradients, or only what one forward pass shows.
        second_look: whether to predict the mirror image of each image, too; arrays have none.
        layers: the layers whose outputs to read, as of other readings; by default those that the first samples show.

    Raises:
        InputError: if there is no such device or engine.
        DataError: if the classes of the source are not the network's, or none of its samples can be read.
        OutputError: if the folder holds something else or cannot be written.
    """
    numbers, work = classifier.class_numbers(source), work or Work()
    second_look = second_look and classifier.arrays is None
    rows = _Rows(classifier.name, source.name, source.labelled, numbers)
    meter = GradientMeter(classifier.network).for_trust_model(gradients, -inf if second_look else inf)
    meter.read_outputs_of(layers)
    reader = Reader(meter, classifier, rows)
    purpose = {**purpose_of(classifier, source, gradients=gradients), "second look": second_look}
    return stream(reader, source, folder, purpose, work, classifier.numbering(source))


def stream(
    reader: Reader,
    source: Source,
    folder: str | Path,
    purpose: Mapping[str, Any],
    work: Work,
    note: str | None = None,
    content: str = "readings",
) -> Measured:
    """Measure every sample and write the reader's rows to a Parquet data set, or continue an earlier run.

    Args:
        reader: turns batches of samples into rows.
        source: the samples.
        folder: the data set, as in `measure`.
        purpose: what the rows are made with; a run with another purpose cannot be continued.
        work: device, engine, callbacks.
        note: a message for `work.on_note`, sent after the folder is prepared.
        content: what error messages call the rows.

    Raises:
        The errors of `measure`.
    """
    if work.engine not in ENGINES:
        raise InputError(f"engine {work.engine!r}; expected {' or '.join(ENGINES)}")
    on_ray = work.engine == "ray"
    if on_ray:
        require_ray()  # before anything is written

    def measure_parts(parts: Mapping[int, Sequence[int]], measured: MeasuredSet) -> None:
        with explain_dead_workers():
            if layers := measured.output_layers():  # of an earlier run
                reader.meter.read_outputs_of(layers)
            elif on_ray and reader.meter.activations and not reader.meter.output_layers:
                _find_layers(reader, source, parts)
            (ray_parts if on_ray else _local_parts)(reader, source, parts, measured, work)

    def on_begin() -> None:
        if note is not None:
            work.on_note(note)
        work.on_start(source.name, len(source))
        note_source(reader.classifier, source, work)

    part = part_size(source) if on_ray else PART
    return fill(source, folder, purpose, work, measure_parts, on_begin, part=part, content=content)


def _find_layers(reader: Reader, source: Source, parts: Mapping[int, Sequence[int]]) -> None:
    """Find the layers whose outputs are read here, so that the actors of a cluster, which see other samples, agree."""
    work = Work(workers=0)
    for _, readings in read(reader, source, [batch for indices in parts.values() for batch in cut(indices)], work):
        if readings is not None:
            reader.meter.read_outputs_of(reader.meter.output_layers)
            return


def _local_parts(
    reader: Reader, source: Source, parts: Mapping[int, Sequence[int]], measured: MeasuredSet, work: Work
) -> None:
    """Measure the parts in this process and write them."""
    batches = read(reader, source, [batch for indices in parts.values() for batch in cut(indices)], work)
    for part, indices in parts.items():
        tables: list[pa.Table] = []
        skipped: list[Skipped] = []
        for _ in cut(indices):
            batch, readings = next(batches)
            if readings is not None:
                tables.append(reader.tabulate(batch, readings))
            skipped += batch.skipped
        measured.write(part, pa.concat_tables(tables) if tables else None, skipped)


def read(
    reader: Reader, source: Source, batches: Sequence[Sequence[int]], work: Work
) -> Iterator[tuple[Batch, Readings | None]]:
    """Yield batches of samples with their readings; None for the readings if no sample of the batch can be read.

    Raises:
        InputError: if there is no such device, or the number of class names is not the number of logits.
    """
    reader.move(work.device)
    for batch in load_batches(source, reader.classifier.batch, batches, work.workers):
        batch, readings = reader.readings(batch, work.device)
        for sample in batch.skipped:
            work.on_skip(sample)
        work.on_progress(len(batch.ids) + len(batch.skipped))
        yield batch, readings


def note_source(classifier: Classifier, source: Source, work: Work) -> None:
    """Send notes on what else the source holds besides its samples, and on samples of another size."""
    source.send_note(work.on_note)
    if (note := classifier.resized(source)) is not None:
        work.on_note(note)


def purpose_of(classifier: Classifier, source: Source, *, gradients: bool = True) -> dict[str, Any]:
    """What readings are made with: the network, its preprocessing and the samples.

    A run is continued only if this is equal; but named samples may be added or removed.
    """
    return {
        "model": classifier.name,
        "weights": weights_hash(classifier.network),
        "classes": classifier.classes,
        "preprocessing": repr(classifier.batch),
        # Distinguishes the network from one with the same weights and another forward pass.
        OUTPUTS: classifier.trial_excerpt(),
        "data": source.name,
        PLACE: place_of(source),
        "samples": len(source),
        LABELLED: source.labelled,
        CLASSES: source.classes,
        "contents": source.fingerprint(),
        **({} if source.arrays is None else {"arrays": source.arrays.to_json()}),
        # Earlier versions also read the padding.
        **({"padding": "left out"} if _is_padded(classifier) else {}),
        **({} if gradients else {"gradients": False}),
    }


def _is_padded(classifier: Classifier) -> bool:
    if classifier.arrays is not None:
        return MASK in classifier.arrays.names
    return classifier.image is None


@dataclass(frozen=True)
class _Rows:
    """Turns readings into the rows of `measure`; it can be pickled, and holds no samples.

    Attributes:
        model: name of the classifier.
        data: name of the source.
        labelled: whether the source has labels.
        numbers: maps the source's class numbers to the network's; None if they are equal.
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
            classes_of = f"{self.model} has classes" if self.numbers is None else "has names for classes"
            raise DataError(
                f"{self.data} has label {wrong[0]}, but {classes_of} 0 to {len(known) - 1}; expected the number of "
                "one of these classes"
            )
        if self.numbers is None:
            return batch.labels
        return [None if label is None else self.numbers[label] for label in batch.labels]
