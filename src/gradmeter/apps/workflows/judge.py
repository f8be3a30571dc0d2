"""The workflow of `gradmeter judge`: write a verdict on every prediction to Parquet or CSV, or yield the verdicts."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from gradmeter.errors import OutputError
from gradmeter.files import atomic_write, read_json, sweep_beside, write_text
from gradmeter.names import encode_name
from gradmeter.reading.readings import Readings
from gradmeter.runs.measuring import MeasuredSet, Skipped, Work
from gradmeter.runs.measuring.loading import Batch, explain_dead_workers
from gradmeter.runs.measuring.purpose import changes
from gradmeter.runs.measuring.reader import Reader
from gradmeter.runs.measuring.streaming import all_batches, none_readable, note_source, purpose_of, read, stream
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import Source
from gradmeter.sources.samples.location import Location
from gradmeter.stages import stage
from gradmeter.trust.model import VERDICT_COLUMNS, TrustModel

COLUMNS = ("id", *VERDICT_COLUMNS)
"""Columns of a table of verdicts."""
# A user who gives such a name expects a file but would get a folder.
_UNSUPPORTED_SUFFIXES = (".json", ".jsonl", ".tsv", ".txt", ".xlsx")
# Key in the purpose of a folder of parts: the CSV file that will be made of them.
_PARTS_OF = "parts of"


@dataclass(frozen=True)
class JudgedSamples:
    """Counts of judged samples, including those of earlier runs.

    Attributes:
        rows: number of judged samples.
        accepted: number of accepted samples; None if the TrustModel has no risk guarantee.
        skipped: samples that could not be read.
    """

    rows: int
    accepted: int | None
    skipped: tuple[Skipped, ...]


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
    location = Location(out)
    suffix = location.suffix.lower()
    if suffix in _UNSUPPORTED_SUFFIXES:
        raise OutputError(
            f"{location.name}: verdicts can be written to a .csv file or to a folder of Parquet files, not to "
            f"{location.suffix}; give a name that ends in .csv, or one without {location.suffix}"
        )
    purpose = _purpose(trust, classifier, source)
    if suffix != ".csv":
        return _stream(trust, classifier, source, out, purpose, work)
    if not location.is_local:
        raise OutputError(
            f"{location.name}: a .csv file can only be written to a local path; give a name without .csv to write a "
            "folder of Parquet files"
        )
    return _to_csv(trust, classifier, source, Path(os.path.realpath(location.path())), purpose, work)


def _to_csv(
    trust: TrustModel, classifier: Classifier, source: Source, out: Path, purpose: Mapping[str, Any], work: Work
) -> JudgedSamples:
    folder = out.with_name(out.name + ".parts")
    parts = MeasuredSet(folder)
    _require_ours(out)
    if out.exists() and not parts.exists() and not work.fresh:
        return _finished(out, purpose, work)
    for path in (out, _note_path(out)):
        sweep_beside(path)
    # `_PARTS_OF` tells these parts from a data set that a user wrote to a folder of this name; only ours is removed.
    judged = _stream(trust, classifier, source, folder, {**purpose, _PARTS_OF: encode_name(out.name)}, work)
    tables = parts.tables()
    first = next(tables)
    with atomic_write(out) as temporary:
        with (
            # Opened by Python because Arrow accepts only paths that are UTF-8.
            temporary.open("wb") as file,
            pyarrow.csv.CSVWriter(file, first.schema) as writer,
            stage(f"writing {out.name}", judged.rows) as advance,
        ):
            for table in itertools.chain([first], tables):
                writer.write_table(table)
                advance(len(table))
        # The note is written before the file itself: a CSV file without a note is not ours.
        note = {"purpose": purpose, "sha256": _file_hash(temporary), **asdict(judged)}
        write_text(_note_path(out), json.dumps(note, ensure_ascii=False) + "\n")
    parts.clear()
    with suppress(OSError):  # the folder holds other files
        folder.rmdir()
    return judged


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
        for batch, readings in read(reader, source, all_batches(source), work):
            skipped += batch.skipped
            if readings is not None:
                yield from reader.tabulate(batch, readings).to_pylist()
    if len(skipped) == len(source):
        raise none_readable(source, skipped)


def _note_path(out: Path) -> Path:
    """Path of the hidden note beside a CSV file, which says what the file was made of."""
    return out.with_name(f".{out.name}.json")


def _require_ours(out: Path) -> None:
    """Refuse to replace a CSV file, or a note beside it, that `judge` did not write.

    Raises:
        OutputError: if there is one.
    """
    existing = [path for path in (out, _note_path(out)) if os.path.lexists(path)]
    if not existing:
        return
    try:
        note = read_json(_note_path(out))
    except (OSError, ValueError):
        note = {}
    is_note = {"purpose", "sha256", *(field.name for field in fields(JudgedSamples))} <= {*note}
    if not (is_note and all(path.is_file() for path in existing)):
        raise OutputError(f"{existing[0]} exists and was not written by gradmeter judge; choose another name")


def _finished(out: Path, purpose: Mapping[str, Any], work: Work) -> JudgedSamples:
    """Read the counts of a finished CSV file from its note.

    Raises:
        OutputError: if the file was changed or made for another purpose, or its note is damaged.
    """
    advice = "choose another name or give --fresh"
    try:
        note = read_json(_note_path(out))
        earlier, digest = note["purpose"], note["sha256"]
        judged = JudgedSamples(note["rows"], note["accepted"], tuple(Skipped(**record) for record in note["skipped"]))
        differences = changes(earlier, json.loads(json.dumps(purpose)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{_note_path(out)}, the note that belongs to {out}, is damaged; {advice}") from error
    if differences:
        raise OutputError(f"{out} exists and was made with other settings or data ({'; '.join(differences)}); {advice}")
    if _file_hash(out) != digest:
        raise OutputError(f"{out} was changed after it was written; {advice}")
    total = judged.rows + len(judged.skipped)
    work.on_note(f"{earlier['data']}: {total:,} of {total:,} samples were done before")
    for sample in judged.skipped:
        work.on_skip(sample)
    return judged


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _purpose(trust: TrustModel, classifier: Classifier, source: Source) -> dict[str, Any]:
    """Return what distinguishes these verdicts from others; the columns keep out those of versions with other names."""
    guarantee = trust.guarantee
    return {
        **purpose_of(classifier, source),
        "fit": trust.fingerprint(),
        "threshold": None if guarantee is None else guarantee.threshold,
        "score": None if guarantee is None else guarantee.score,
        "columns": list(COLUMNS),
    }


def _stream(
    trust: TrustModel,
    classifier: Classifier,
    source: Source,
    folder: str | Path,
    purpose: Mapping[str, Any],
    work: Work,
) -> JudgedSamples:
    measured = stream(reader_of(trust, classifier), source, folder, purpose, work, content="verdicts")
    accepted = [pc.sum(table["accepted"]).as_py() or 0 for table in MeasuredSet(folder).tables(["accepted"])]
    return JudgedSamples(measured.rows, None if trust.guarantee is None else sum(accepted), measured.skipped)


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
