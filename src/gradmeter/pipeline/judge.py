"""gradmeter judge: a verdict on every prediction, to Parquet, to CSV, or one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from gradmeter.errors import OutputError
from gradmeter.files import whole
from gradmeter.measuring import MeasuredSet, Skipped, Work
from gradmeter.measuring.loading import Batch
from gradmeter.measuring.streaming import all_batches, purpose_of, read, stream
from gradmeter.meta.trust import TrustModel
from gradmeter.models import Classifier
from gradmeter.readings import Readings
from gradmeter.samples import Source


@dataclass(frozen=True)
class JudgedSamples:
    """What came of judging, earlier runs included.

    Attributes:
        rows: samples that were judged.
        accepted: of them; None where no risk was promised.
        skipped: samples that could not be read.
    """

    rows: int
    accepted: int | None
    skipped: tuple[Skipped, ...]


def judge(
    trust: TrustModel, classifier: Classifier, source: Source, out: Path, work: Work | None = None
) -> JudgedSamples:
    """Write a verdict on every sample; go on where an earlier run was killed.

    The rows have "id", "label" (the name of the predicted class, or its number where it has no name), "probability" of
    it, "p_correct", and "accepted", null where no risk was promised.

    Args:
        trust: says how far to trust.
        classifier: its network and preprocessing.
        source: the samples.
        out: a name that ends in ".csv", or the folder of a Parquet data set.
        work: how to go about it.

    Raises:
        DataError: if none of the samples can be read.
        OutputError: if something else is there, or cannot be written.
    """
    work = work or Work()
    if out.suffix != ".csv":
        return _stream(trust, classifier, source, out, work)
    parts = out.with_name(out.name + ".parts")
    if out.exists() and not parts.exists() and not work.fresh:
        raise OutputError(f"{out} is there; choose another name or give --fresh")
    done = _stream(trust, classifier, source, parts, work)
    tables = MeasuredSet(parts).tables()
    first = next(tables)
    with whole(out) as temporary, pyarrow.csv.CSVWriter(temporary, first.schema) as writer:
        for table in (first, *tables):
            writer.write_table(table)
    shutil.rmtree(parts)
    return done


def verdicts(
    trust: TrustModel, classifier: Classifier, source: Source, work: Work | None = None
) -> Iterator[dict[str, Any]]:
    """One row of `judge` after the other, nothing written."""
    for batch, readings in read(trust.meter, classifier, source, all_batches(source), work or Work()):
        if readings is not None:
            yield from _rows(trust, classifier, batch, readings).to_pylist()


def _stream(trust: TrustModel, classifier: Classifier, source: Source, folder: Path, work: Work) -> JudgedSamples:
    threshold = None if trust.guarantee is None else trust.guarantee.threshold
    purpose = {**purpose_of(classifier, source), "fit": trust.fingerprint(), "threshold": threshold}
    done = stream(
        trust.meter,
        classifier,
        source,
        folder,
        purpose,
        lambda batch, readings: _rows(trust, classifier, batch, readings),
        work,
    )
    accepted = [pc.sum(table["accepted"]).as_py() or 0 for table in MeasuredSet(folder).tables()]
    return JudgedSamples(done.rows, None if threshold is None else sum(accepted), done.skipped)


def _rows(trust: TrustModel, classifier: Classifier, batch: Batch, readings: Readings) -> pa.Table:
    verdict = trust.verdicts(readings)
    predictions = verdict["prediction"].to_pylist()
    names = predictions if classifier.classes is None else [classifier.classes[number] for number in predictions]
    return verdict.add_column(0, "id", [pa.array(batch.ids, pa.string())]).set_column(1, "label", [pa.array(names)])
