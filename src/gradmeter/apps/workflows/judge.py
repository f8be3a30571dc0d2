"""The workflow of `gradmeter judge`: write a verdict on every prediction to Parquet or CSV, or yield the verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from gradmeter.apps.workflows.verdict_files import JudgedSamples, write_verdicts
from gradmeter.reading.readings import Readings
from gradmeter.runs.measuring import Skipped, Work
from gradmeter.runs.measuring.filling import cut, none_readable
from gradmeter.runs.measuring.loading import Batch, explain_dead_workers
from gradmeter.runs.measuring.reader import Reader
from gradmeter.runs.measuring.streaming import note_source, purpose_of, read, stream
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import Source, Unlabelled
from gradmeter.trust.model import TrustModel


def judge(
    trust: TrustModel, classifier: Classifier, source: Source, out: str | Path, work: Work | None = None
) -> JudgedSamples:
    """Write a verdict on every sample; continue an earlier run that was interrupted.

    Each row holds "id" and the columns of `TrustModel.verdicts`; "prediction" is the name of the predicted class, or
    its number if the classes have no names.

    Args:
        trust: TrustModel that judges the predictions.
        classifier: the network of `trust` and its preprocessing.
        source: samples to judge.
        out: path of a .csv file, or folder of a Parquet data set at a path or an address in an object store.
        work: device, workers, engine and callbacks.

    Raises:
        DataError: if no sample can be read.
        OutputError: if `out` holds something else, cannot be written, or has the suffix of an unsupported file type.
    """
    work = work or Work()
    reader = reader_of(trust, classifier)
    return write_verdicts(
        out,
        _purpose(trust, classifier, source),
        source,
        work,
        lambda folder, purpose: stream(reader, source, folder, purpose, work, content="verdicts"),
    )


def verdicts(
    trust: TrustModel, classifier: Classifier, source: Source, work: Work | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of `judge` one by one without writing anything.

    Raises:
        DataError: at the end, if no sample could be read.
    """
    skipped = list[Skipped]()
    reader, work = reader_of(trust, classifier), work or Work()
    note_source(classifier, source, work)
    with explain_dead_workers():
        for batch, readings in read(reader, source, cut(range(len(source))), work):
            skipped += batch.skipped
            if readings is not None:
                yield from reader.tabulate(batch, readings).to_pylist()
    if len(skipped) == len(source):
        raise none_readable(source, skipped)


def _purpose(trust: TrustModel, classifier: Classifier, source: Source) -> dict[str, Any]:
    """Return what distinguishes these verdicts from others."""
    guarantee = trust.guarantee
    return {
        # Names of subfolders do not matter, and a new subfolder only adds samples.
        **purpose_of(classifier, Unlabelled(source)),
        "fit": trust.fingerprint(),
        "threshold": None if guarantee is None else guarantee.threshold,
        "score": None if guarantee is None else guarantee.score,
    }


def reader_of(trust: TrustModel, classifier: Classifier) -> Reader:
    """Return a reader that turns samples into the rows of `judge`."""
    return Reader(trust.meter, classifier, _Verdicts(trust, classifier.classes))


@dataclass(frozen=True)
class _Verdicts:
    """Turns readings into the rows of `judge`."""

    trust: TrustModel
    classes: tuple[str, ...] | None

    def __call__(self, batch: Batch, readings: Readings) -> pa.Table:
        table = self.trust.verdicts(readings)
        indices = table["prediction"].to_pylist()
        names = indices if self.classes is None else [self.classes[index] for index in indices]
        return table.add_column(0, "id", [pa.array(batch.ids, pa.string())]).set_column(
            1, "prediction", [pa.array(names)]
        )
