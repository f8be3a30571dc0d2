"""Write verdicts to a .csv file or to a Parquet data set, and continue an earlier run that was interrupted.

Nothing here needs PyTorch.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.csv

from gradmeter.errors import OutputError
from gradmeter.files import atomic_write, read_json, require_short_name, sweep_beside, write_text
from gradmeter.names import encode_name
from gradmeter.runs.measuring.dataset import MeasuredSet, Skipped
from gradmeter.runs.measuring.filling import modified_samples
from gradmeter.runs.measuring.purpose import changes
from gradmeter.runs.measuring.work import Measured, Work
from gradmeter.sources.samples import Source
from gradmeter.sources.samples.location import Location
from gradmeter.stages import stage
from gradmeter.trust.verdict_columns import VERDICT_COLUMNS

COLUMNS = ("id", *VERDICT_COLUMNS)
"""Columns of a table of verdicts."""
# A user who gives such a name expects a file but would get a folder.
_UNSUPPORTED_SUFFIXES = (".bz2", ".gz", ".html", ".json", ".jsonl", ".tsv", ".txt", ".xlsx", ".xz", ".zip", ".zst")
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


Stream = Callable[["str | Path", Mapping[str, Any]], Measured]
"""Writes verdicts to a folder; the mapping is what they are made with."""


def write_verdicts(
    out: str | Path, purpose: Mapping[str, Any], source: Source, work: Work, stream: Stream
) -> JudgedSamples:
    """Write a verdict on every sample; continue an earlier run that was interrupted.

    Args:
        out: path of a .csv file, or folder of a Parquet data set at a path or an address in an object store.
        purpose: what distinguishes these verdicts from others.
        source: the samples.
        work: callbacks, and whether to start over.
        stream: writes the verdicts to a folder of Parquet files.

    Raises:
        DataError: if no sample can be read.
        OutputError: if `out` holds something else, cannot be written, or has the suffix of an unsupported file type.
    """
    location = Location(out)
    suffix = location.suffix.lower()
    if suffix in _UNSUPPORTED_SUFFIXES:
        raise OutputError(
            f"{location.name}: verdicts can be written to a .csv file or to a folder of Parquet files, not to "
            f"{location.suffix}; give a name that ends in .csv, or one without {location.suffix}"
        )
    purpose = {**purpose, "columns": list(COLUMNS)}
    if suffix != ".csv":
        return _counted(stream, out, purpose)
    if not location.is_local:
        raise OutputError(
            f"{location.name}: a .csv file can only be written to a local path; give a name without .csv to write a "
            "folder of Parquet files"
        )
    return _to_csv(stream, Path(os.path.realpath(location.path())), purpose, source, work)


def _counted(stream: Stream, folder: str | Path, purpose: Mapping[str, Any]) -> JudgedSamples:
    measured = stream(folder, purpose)
    columns = [table["accepted"] for table in MeasuredSet(folder).tables(["accepted"])]
    # Without a risk guarantee there are only nulls.
    if all(column.null_count == len(column) for column in columns):
        return JudgedSamples(measured.rows, None, measured.skipped)
    return JudgedSamples(measured.rows, sum(pc.sum(column).as_py() or 0 for column in columns), measured.skipped)


def _to_csv(stream: Stream, out: Path, purpose: Mapping[str, Any], source: Source, work: Work) -> JudgedSamples:
    folder = out.with_name(out.name + ".parts")
    parts = MeasuredSet(folder)
    require_short_name(out, _note_path(out), folder)
    _require_ours(out)
    if out.exists() and not parts.exists() and not work.fresh:
        return _finished(out, purpose, source, work)
    for path in (out, _note_path(out)):
        sweep_beside(path)
    # `_PARTS_OF` tells these parts from a data set that a user wrote to a folder of this name; only ours is removed.
    judged = _counted(stream, folder, {**purpose, _PARTS_OF: encode_name(out.name)})
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
        _require_ours(out)  # another program may have written it meanwhile
        # The note is written before the file itself: a CSV file without a note is not ours.
        files = parts.file_versions().of_files_in(source.file_versions()).hash()
        note = {"purpose": purpose, "sha256": _file_hash(temporary), "files": files, **asdict(judged)}
        write_text(_note_path(out), json.dumps(note, ensure_ascii=False) + "\n")
    parts.clear()
    with suppress(OSError):  # the folder holds other files
        folder.rmdir()
    return judged


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


def _finished(out: Path, purpose: Mapping[str, Any], source: Source, work: Work) -> JudgedSamples:
    """Read the counts of a finished CSV file from its note.

    Raises:
        OutputError: if the file was changed or made for another purpose, samples were modified since, or its note is
            damaged.
    """
    advice = "choose another name or give --fresh"
    try:
        note = read_json(_note_path(out))
        earlier, digest, files = note["purpose"], note["sha256"], note.get("files")
        judged = JudgedSamples(note["rows"], note["accepted"], tuple(Skipped(**record) for record in note["skipped"]))
        differences = changes(earlier, json.loads(json.dumps(purpose)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{_note_path(out)}, the note that belongs to {out}, is damaged; {advice}") from error
    if differences:
        raise OutputError(f"{out} exists and was made with other settings or data ({'; '.join(differences)}); {advice}")
    if _file_hash(out) != digest:
        raise OutputError(f"{out} was changed after it was written; {advice}")
    if files not in (None, source.file_versions().hash()):  # None: written by an earlier version
        raise modified_samples(f"{out} holds verdicts on samples")
    total = judged.rows + len(judged.skipped)
    work.on_note(f"{earlier['data']}: {total:,} of {total:,} samples were done before")
    for sample in judged.skipped:
        work.on_skip(sample)
    return judged


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
