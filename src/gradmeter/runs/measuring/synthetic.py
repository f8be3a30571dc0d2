"""Readings of synthetic unknowns, made of a source's own images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from gradmeter.reading.finite import read_finite
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.meter import GradientMeter
from gradmeter.runs.measuring.dataset import MeasuredSet
from gradmeter.runs.measuring.loading import load_batches, processes_may_end
from gradmeter.runs.measuring.streaming import purpose_of
from gradmeter.runs.measuring.work import Work
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.answering import explained
from gradmeter.sources.samples import Source
from gradmeter.trust.synthetic import KINDS, ImageSample, per_kind, synthetic_unknowns

_BATCH = 64
# Seconds; what takes less is not announced.
_LONG = 10.0


def measure_synthetic(
    classifier: Classifier, source: Source, numbers: Sequence[int], folder: Path, work: Work
) -> MeasuredSet | None:
    """Read synthetic unknowns of every kind to a Parquet data set; go on where an earlier run was killed.

    There are `per_kind` of each, so that they take about as long as the samples themselves. Each kind has a seed of its
    own, so that no kind has to be made again for the next. How long it takes is said once the first batch is read.

    Args:
        classifier: the network and its preprocessing.
        source: the samples.
        numbers: of the samples that they may be made of.
        folder: the data set; its rows have the columns of `measure`, and as "id" the kind.
        work: how to go about it.

    Returns:
        The data set; None where the samples are no images that the network takes as one tensor, or fewer than two:
        blends are made of several.

    Raises:
        OutputError: if the folder holds something else, or cannot be written.
    """
    if source.texts:
        return None
    purpose = {
        **purpose_of(classifier, source),
        "synthetic": list(KINDS),
        "numbers": len(numbers),
        "of each kind": per_kind(len(numbers)),
    }
    measured = MeasuredSet.begin(folder, purpose, fresh=work.fresh)
    if done := measured.progress()[0]:
        work.on_note(f"synthetic unknowns: {done:,} were done before")
    left = [number for number in range(len(KINDS)) if not measured.note(number)]
    if not left:
        return measured
    sample = _sampled(classifier, source, numbers, work.workers)
    images, labels = sample.images()
    if images is None or len(images) < 2:
        return None
    work.on_start("synthetic unknowns", len(KINDS) * len(images))
    work.on_progress((len(KINDS) - len(left)) * len(images))
    meter = GradientMeter(classifier.network.to(work.device)).for_trust_model()
    started, announced = time.monotonic(), False
    for number in left:
        kind = list(KINDS)[number]
        made = synthetic_unknowns(images, labels, [kind], seed=number)[kind]
        seconds = (time.monotonic() - started) * len(left)  # that making all of them takes
        tables = []
        for batch in made.split(_BATCH):
            begun = time.monotonic()
            inputs = sample.as_inputs(batch.to(work.device))
            with explained(classifier, batch, f" of synthetic unknowns ({kind})"):
                readings = read_finite(meter, Inputs.of(inputs)).readings
            if readings is not None:
                tables.append(readings.to_arrow())
            if number == left[0] and not announced:
                announced = True
                seconds += (time.monotonic() - begun) * len(left) * len(images) / len(batch)
                _announce(len(left), len(images), seconds, work)
            work.on_progress(len(batch))
        table = pa.concat_tables(tables) if tables else None
        if table is not None:
            table = table.add_column(0, "id", pa.array([kind] * table.num_rows))
        measured.write(number, table, [])
    return measured


def _announce(kinds: int, images: int, seconds: float, work: Work) -> None:
    if seconds >= _LONG:
        about = timedelta(seconds=round(seconds))
        work.on_note(f"synthetic unknowns: {kinds} kinds of {images:,} images are made and read, in about {about}")


def _sampled(classifier: Classifier, source: Source, numbers: Sequence[int], workers: int) -> ImageSample:
    """Images as the network takes them, from all over the source."""
    sample = ImageSample()
    places = np.linspace(0, len(numbers) - 1, per_kind(len(numbers))).round().astype(int)
    chosen = [numbers[place] for place in places]
    batches = [chosen[at : at + _BATCH] for at in range(0, len(chosen), _BATCH)]
    with processes_may_end():
        for batch in load_batches(source, classifier.batch, batches, workers):
            if batch.ids:
                sample.add(batch.inputs, torch.tensor([-1 if label is None else label for label in batch.labels]))
    return sample
