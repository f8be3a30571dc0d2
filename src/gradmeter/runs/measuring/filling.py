"""Fill a data set with rows for the samples of a source, part by part, and continue where an earlier run stopped."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from gradmeter.errors import DataError, OutputError
from gradmeter.names import decode_name, encode_name
from gradmeter.runs.measuring.dataset import MeasuredSet, Skipped
from gradmeter.runs.measuring.purpose import is_same_data
from gradmeter.runs.measuring.remaining import remaining
from gradmeter.runs.measuring.work import BATCH, Measured, Work
from gradmeter.runs.store import as_json
from gradmeter.sources.samples import Source, scheme_of
from gradmeter.sources.samples.file_versions import FileVersions
from gradmeter.sources.samples.location import is_address

# What the system says of a file that cannot be read now, but perhaps later: `chmod`, for example, does not modify it.
_FOR_NOW = {os.strerror(number) for number in (errno.EACCES, errno.EPERM, errno.EIO, errno.ENOENT, errno.ESTALE)}


def fill(
    source: Source,
    folder: str | Path,
    purpose: Mapping[str, Any],
    work: Work,
    measure_parts: Callable[[Mapping[int, Sequence[int]], MeasuredSet], None],
    on_begin: Callable[[], None],
    *,
    part: int,
    content: str,
) -> Measured:
    """Write a row for every sample to a Parquet data set, or continue an earlier run.

    Args:
        source: the samples.
        folder: the data set; a path, or the address of a folder in an object store.
        purpose: what the rows are made with; a run with another purpose cannot be continued.
        work: callbacks, and whether to start over.
        measure_parts: writes the parts with these indices of samples to the set.
        on_begin: called once the folder is prepared.
        part: number of samples in a part.
        content: what error messages call the rows.

    Raises:
        DataError: if no sample can be read.
        OutputError: if the folder holds something else or cannot be written.
    """
    versions = source.file_versions()  # before they are read: a file that is modified in the meantime is then noticed
    repaired = set[str]() if work.fresh else _repaired(versions, MeasuredSet(folder, content), purpose, content)
    containers = source.containers()
    measured = MeasuredSet.begin(folder, purpose, containers=containers, part=part, fresh=work.fresh, content=content)
    measured.forget_skipped(repaired)
    measured.add_files(versions)
    del versions  # of a million files they take many megabytes
    to_do, count = remaining(measured, source), len(source)
    on_begin()
    if done := count - len(to_do):
        work.on_progress(done)
        work.on_note(f"{source.name}: {done:,} of {count:,} samples were done before")
    if to_do.gone:
        # `evaluate --one-per` leaves out samples that exist.
        gone = f"{len(to_do.gone):,} earlier sample{'s were' if len(to_do.gone) > 1 else ' was'} removed or left out"
        work.on_note(f"{source.name}: {gone}; earlier {content} stay in {measured.name}")
    for sample in measured.progress()[1]:
        if sample.id not in to_do.gone:
            work.on_skip(sample)
    if to_do.parts:
        measure_parts(to_do.parts, measured)
    rows, skipped = measured.finish(to_do.gone)
    if not rows:
        raise none_readable(source, skipped)
    return Measured(rows, skipped)


def _repaired(versions: FileVersions, earlier: MeasuredSet, purpose: Mapping[str, Any], content: str) -> set[str]:
    """The ids of samples that were skipped and may be readable now; work with another purpose is not continued anyway.

    These are files that were modified since, or that the system could not read.

    Raises:
        OutputError: if samples that were measured were modified since.
    """
    if not earlier.exists() or not is_same_data(earlier.purpose(), as_json(purpose)):
        return set()
    complete = earlier.complete()
    reasons = {sample.id: sample.reason for note in complete.values() for sample in note.skipped}
    unread = {id_ for id_, reason in reasons.items() if reason in _FOR_NOW}
    if unread:
        unread.intersection_update(versions.table["id"].to_pylist())
    before = earlier.file_versions()
    if not (modified := versions.differing_from(before)):
        return unread
    skipped = set(reasons)
    known = set(before.table["id"].to_pylist())
    measured_files = {_file_of(id_, known) for id_ in earlier.ids(complete) - skipped}
    if changed := [id_ for id_ in modified if id_ in measured_files]:
        more = ", ..." if len(changed) > 1 else ""
        raise modified_samples(f"{earlier.name} holds {content} of samples", f" ({changed[0]}{more})")
    files = set(modified)
    return unread | {id_ for id_ in skipped if _file_of(id_, known) in files}


def _file_of(id_: str, files: Set[str]) -> str:
    """The id of the file that holds a sample; a sample of several in a file has that of `Source.file_versions`."""
    return id_ if id_ in files else id_.rpartition(":")[0]


def modified_samples(holds: str, which: str = "") -> OutputError:
    """The error for outputs on earlier versions of samples.

    Args:
        holds: what holds the outputs, in words that end in "samples".
        which: the samples, in words.
    """
    return OutputError(f"{holds} that were modified since{which}; start over with --fresh, or choose another output")


def none_readable(source: Source, skipped: Sequence[Skipped]) -> DataError:
    """The error if all samples of a source were skipped."""
    return DataError(
        f"{source.name}: none of {len(source):,} samples can be read ({skipped[0].id}: {skipped[0].reason})"
    )


def place_of(source: Source) -> str:
    """The absolute path or the address of the samples, because a relative path depends on the current folder."""
    name = decode_name(source.name)
    return source.name if scheme_of(name) or is_address(name) else encode_name(os.path.abspath(name))


def cut(indices: Sequence[int]) -> list[Sequence[int]]:
    """The indices of samples in batches."""
    return [indices[start : start + BATCH] for start in range(0, len(indices), BATCH)]
