"""gradmeter judge: a verdict on every prediction, to Parquet, to CSV, or one after the other."""

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
from gradmeter.runs.measuring.streaming import all_batches, none_readable, note_left_out, purpose_of, read, stream
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import Source
from gradmeter.sources.samples.location import Location
from gradmeter.stages import stage
from gradmeter.trust.model import TrustModel

# Who gives such a name expects a file, and would get a folder.
_OTHER_FILES = (".json", ".jsonl", ".tsv", ".txt", ".xlsx")
# What a folder of parts is for that becomes a file.
_PARTS_OF = "parts of"


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
    trust: TrustModel, classifier: Classifier, source: Source, out: str | Path, work: Work | None = None
) -> JudgedSamples:
    """Write a verdict on every sample; go on where an earlier run was killed.

    The rows have "id", "label" (the name of the predicted class, or its number where it has no name), "probability" of
    it, "p_correct", and "accepted", null where no risk was promised.

    Args:
        trust: says how far to trust.
        classifier: its network and preprocessing.
        source: the samples.
        out: a path that ends in ".csv"; or the folder of a Parquet data set, a path or an address in an object store.
        work: how to go about it.

    Raises:
        DataError: if none of the samples can be read.
        OutputError: if something else is there, it cannot be written, or its name promises a file of another kind.
    """
    work = work or Work()
    place = Location(out)
    suffix = place.suffix.lower()
    if suffix in _OTHER_FILES:
        raise OutputError(
            f"{place.name}: verdicts are written as .csv, or as Parquet files in a folder; give a name that ends in "
            f".csv, or one without {place.suffix}"
        )
    purpose = _purpose(trust, classifier, source)
    if suffix != ".csv":
        return _stream(trust, classifier, source, out, purpose, work)
    if not place.is_local:
        raise OutputError(
            f"{place.name}: .csv is written to this machine only; give a name without it, for Parquet files in a folder"
        )
    return _to_csv(trust, classifier, source, Path(os.path.realpath(place.path())), purpose, work)


def _to_csv(
    trust: TrustModel, classifier: Classifier, source: Source, out: Path, purpose: Mapping[str, Any], work: Work
) -> JudgedSamples:
    folder = out.with_name(out.name + ".parts")
    parts = MeasuredSet(folder)
    _require_ours(out)
    if out.exists() and not parts.exists() and not work.fresh:
        return _finished(out, purpose, work)
    for path in (out, _note(out)):
        sweep_beside(path)
    # Else a folder of that name that somebody asked for would be taken for the parts of this file, and removed.
    done = _stream(trust, classifier, source, folder, {**purpose, _PARTS_OF: encode_name(out.name)}, work)
    tables = parts.tables()
    first = next(tables)
    with atomic_write(out) as temporary:
        with (
            # Opened by Python: Arrow takes no path that is not UTF-8.
            temporary.open("wb") as file,
            pyarrow.csv.CSVWriter(file, first.schema) as writer,
            stage(f"writing {out.name}", done.rows) as advance,
        ):
            for table in itertools.chain([first], tables):
                writer.write_table(table)
                advance(len(table))
        # Written before the file itself: one without a note is somebody else's.
        note = {"purpose": purpose, "sha256": _hash(temporary), **asdict(done)}
        write_text(_note(out), json.dumps(note, ensure_ascii=False) + "\n")
    parts.clear()
    with suppress(OSError):  # something else lies in it
        folder.rmdir()
    return done


def verdicts(
    trust: TrustModel, classifier: Classifier, source: Source, work: Work | None = None
) -> Iterator[dict[str, Any]]:
    """One row of `judge` after the other, nothing written.

    Raises:
        DataError: at the end, if none of the samples can be read.
    """
    skipped = list[Skipped]()
    reader, work = reader_of(trust, classifier), work or Work()
    note_left_out(source, work)
    with explain_dead_workers():
        for batch, readings in read(reader, source, all_batches(source), work):
            skipped += batch.skipped
            if readings is not None:
                yield from reader.tabulate(batch, readings).to_pylist()
    if len(skipped) == len(source):
        raise none_readable(source, skipped)


def _note(out: Path) -> Path:
    """Beside a finished CSV file, what it was made of: the same command need not make it again."""
    return out.with_name(f".{out.name}.json")


def _require_ours(out: Path) -> None:
    """Refuse to replace a file, or a note beside it, that was not made here.

    Raises:
        OutputError: if one is there.
    """
    there = [path for path in (out, _note(out)) if os.path.lexists(path)]
    if not there:
        return
    try:
        note = read_json(_note(out))
    except (OSError, ValueError):
        note = {}
    is_note = {"purpose", "sha256", *(field.name for field in fields(JudgedSamples))} <= {*note}
    if not (is_note and all(path.is_file() for path in there)):
        raise OutputError(f"{there[0]} is there and was not made by gradmeter judge; choose another name")


def _finished(out: Path, purpose: Mapping[str, Any], work: Work) -> JudgedSamples:
    """What came of the command that made a file, if it was this one and the file is as it was.

    Raises:
        OutputError: otherwise.
    """
    advice = "choose another name or give --fresh"
    try:
        note = read_json(_note(out))
        made, digest = note["purpose"], note["sha256"]
        done = JudgedSamples(note["rows"], note["accepted"], tuple(Skipped(**one) for one in note["skipped"]))
        found = changes(made, json.loads(json.dumps(purpose)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{_note(out)}, the note beside {out}, is damaged; {advice}") from error
    if found:
        raise OutputError(f"{out} is there and was made with other settings or data ({'; '.join(found)}); {advice}")
    if _hash(out) != digest:
        raise OutputError(f"{out} was changed after it was made; {advice}")
    total = done.rows + len(done.skipped)
    work.on_note(f"{made['data']}: {total:,} of {total:,} samples were done before")
    for one in done.skipped:
        work.on_skip(one)
    return done


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _purpose(trust: TrustModel, classifier: Classifier, source: Source) -> dict[str, Any]:
    threshold = None if trust.guarantee is None else trust.guarantee.threshold
    return {**purpose_of(classifier, source), "fit": trust.fingerprint(), "threshold": threshold}


def _stream(
    trust: TrustModel,
    classifier: Classifier,
    source: Source,
    folder: str | Path,
    purpose: Mapping[str, Any],
    work: Work,
) -> JudgedSamples:
    done = stream(reader_of(trust, classifier), source, folder, purpose, work)
    accepted = [pc.sum(table["accepted"]).as_py() or 0 for table in MeasuredSet(folder).tables(["accepted"])]
    return JudgedSamples(done.rows, None if trust.guarantee is None else sum(accepted), done.skipped)


def reader_of(trust: TrustModel, classifier: Classifier) -> Reader:
    """From samples to the rows of `judge`."""
    return Reader(trust.meter, classifier, _Verdicts(trust, classifier.classes))


@dataclass(frozen=True)
class _Verdicts:
    """From readings to the rows of `judge`."""

    trust: TrustModel
    classes: tuple[str, ...] | None

    def __call__(self, batch: Batch, readings: Readings) -> pa.Table:
        verdict = self.trust.verdicts(readings)
        predictions = verdict["prediction"].to_pylist()
        names = predictions if self.classes is None else [self.classes[number] for number in predictions]
        return verdict.add_column(0, "id", [pa.array(batch.ids, pa.string())]).set_column(1, "label", [pa.array(names)])
