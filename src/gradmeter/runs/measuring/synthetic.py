"""Readings of synthetic unknown inputs, which are made of a source's images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from gradmeter.reading.finite import read_finite
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings
from gradmeter.runs.measuring.dataset import MeasuredSet
from gradmeter.runs.measuring.loading import explain_dead_workers, load_batches
from gradmeter.runs.measuring.purpose import is_same_data
from gradmeter.runs.measuring.streaming import purpose_of
from gradmeter.runs.measuring.work import Work
from gradmeter.runs.store import as_json
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.answering import ClassifierFailed, explained, failures_alone
from gradmeter.sources.samples import Source
from gradmeter.sources.samples.file_versions import FileVersions
from gradmeter.trust.synthetic import KINDS, ImageSample, per_kind, synthetic_unknowns

_BATCH = 64
# Seconds; if the work takes at least as long, the user is told how long.
_LONG = 10.0
# Entries of the purpose that change when samples are added or removed.
_NUMBERS, _OF_EACH_KIND = "numbers", "of each kind"


def measure_synthetic(
    classifier: Classifier,
    source: Source,
    numbers: Sequence[int],
    folder: Path,
    work: Work,
    *,
    gradients: bool = True,
    layers: tuple[str, ...] = (),
) -> MeasuredSet | None:
    """Make and measure synthetic unknowns of every kind and write a Parquet data set, or continue an earlier run.

    There are `per_kind` images of each kind, so that this takes about as long as measuring the samples. Each kind has
    its own seed, so that a continued run makes only the kinds that remain. If samples were added, removed or modified
    since, all are made anew. A note after the first batch says how long it takes.

    Args:
        classifier: the network and its preprocessing.
        source: the samples.
        numbers: indices of the samples to make them of.
        folder: the data set; its rows have the columns of `Readings.to_arrow`, and the kind as "id".
        work: device, callbacks.
        gradients: whether to measure gradients, or only what one forward pass shows.
        layers: the layers whose outputs to read, as of the samples' readings.

    Returns:
        The data set; None if the samples are not images that the network takes as one tensor, or if there are fewer
        than two, because a blend needs two images.

    Raises:
        OutputError: if the folder holds something else, or unknowns made with other settings, or cannot be written.
    """
    if source.texts or source.arrays is not None:
        return None
    purpose = {
        **purpose_of(classifier, source, gradients=gradients),
        # Only known images need one; but its column is in the readings.
        "second look": False,
        "synthetic": list(KINDS),
        _NUMBERS: len(numbers),
        _OF_EACH_KIND: per_kind(len(numbers)),
    }
    versions = source.file_versions()  # before the samples are read
    outdated = not work.fresh and _is_outdated(MeasuredSet(folder), purpose, versions)
    if outdated:
        work.on_note("synthetic unknowns: made anew, of the samples as they are now")
    measured = MeasuredSet.begin(folder, purpose, fresh=work.fresh or outdated)
    measured.add_files(versions)
    if done := measured.progress()[0]:
        work.on_note(f"synthetic unknowns: {done:,} were done before")
    kinds = list(KINDS)
    to_do = [part for part in range(len(kinds)) if not measured.note(part)]
    if not to_do:
        return measured
    sample = _sampled(classifier, source, numbers, work.workers)
    images, labels = sample.images()
    if images is None or len(images) < 2:
        return None
    work.on_start("synthetic unknowns", len(kinds) * len(images))
    work.on_progress((len(kinds) - len(to_do)) * len(images))
    meter = GradientMeter(classifier.network.to(work.device)).for_trust_model(gradients, inf)
    meter.read_outputs_of(layers)
    started, announced = time.monotonic(), False
    for part in to_do:
        kind = kinds[part]
        unknowns = synthetic_unknowns(images, labels, [kind], seed=part)[kind]
        seconds = (time.monotonic() - started) * len(to_do)  # to make all kinds
        tables = []
        for batch in unknowns.split(_BATCH):
            batch_started = time.monotonic()
            inputs = Inputs.of(sample.as_inputs(batch.to(work.device)))
            if (readings := _readings(classifier, meter, inputs, kind)) is not None:
                tables.append(readings.to_arrow())
            if part == to_do[0] and not announced:
                announced = True
                seconds += (time.monotonic() - batch_started) * len(to_do) * len(images) / len(batch)
                _announce(len(to_do), len(images), seconds, work)
            work.on_progress(len(batch))
        table = pa.concat_tables(tables) if tables else None
        if table is not None:
            table = table.add_column(0, "id", pa.array([kind] * table.num_rows))
        measured.write(part, table, [])
    return measured


def _readings(classifier: Classifier, meter: GradientMeter, inputs: Inputs, kind: str) -> Readings | None:
    """Read the unknowns on which the network does not fail and whose readings are finite; None if there are none.

    Raises:
        InputError: if the network fails on them together but not alone.
    """
    try:
        with explained(classifier, inputs.tensors[0], f" of synthetic unknowns ({kind})"):
            return read_finite(meter, inputs).readings
    except ClassifierFailed:
        failing = failures_alone(classifier, inputs)
        if not failing:
            raise
    kept = [row for row in range(inputs.samples) if row not in failing]
    return _readings(classifier, meter, inputs.rows(kept), kind) if kept else None


def _is_outdated(earlier: MeasuredSet, purpose: Mapping[str, Any], versions: FileVersions) -> bool:
    """Whether earlier unknowns were made in the same way of other samples, or of other versions of their files."""
    if not earlier.exists():
        return False
    now, recorded = as_json(purpose), earlier.purpose()
    counts = {key: recorded.get(key) for key in (_NUMBERS, _OF_EACH_KIND)}
    return is_same_data(recorded, {**now, **counts}) and (
        recorded != now or bool(versions.differing_from(earlier.file_versions()))
    )


def _announce(kinds: int, images: int, seconds: float, work: Work) -> None:
    if seconds >= _LONG:
        duration = timedelta(seconds=round(seconds))
        work.on_note(f"synthetic unknowns: measuring {kinds} kinds of {images:,} images takes about {duration}")


def _sampled(classifier: Classifier, source: Source, numbers: Sequence[int], workers: int) -> ImageSample:
    """Images as the network takes them, evenly spaced over the source."""
    sample = ImageSample()
    positions = np.linspace(0, len(numbers) - 1, per_kind(len(numbers))).round().astype(int)
    chosen = [numbers[position] for position in positions]
    batches = [chosen[start : start + _BATCH] for start in range(0, len(chosen), _BATCH)]
    with explain_dead_workers():
        for batch in load_batches(source, classifier.batch, batches, workers):
            if batch.ids:
                sample.add(batch.inputs, torch.tensor([-1 if label is None else label for label in batch.labels]))
    return sample
