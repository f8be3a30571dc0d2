"""The Parquet data set that a measurement writes, in parts that appear whole, so that a killed run can be continued."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradmeter.errors import DataError, OutputError, one_line
from gradmeter.runs.measuring.purpose import changes, is_same_data
from gradmeter.runs.store import Manifest, Store, StoreKind, as_json
from gradmeter.sources.samples.file_versions import FileVersions

# Arrow, pandas and Spark ignore files whose names begin with an underscore.
from gradmeter.sources.samples.opening import MANIFEST

if TYPE_CHECKING:
    from gradmeter.reading.readings import Readings

PART = 1024
"""Default number of samples in a part; a killed run loses at most one part."""

_PART_SIZE, _CONTAINERS, _BY_ID = "samples of a part", "containers", "goes by id"
_ROWS, _SKIPPED, _GONE, _CONTENT = "rows", "skipped", "gone", "content"
_KIND = StoreKind(MANIFEST, "readings", "gradmeter measure", {_PART_SIZE: int})
_PART_FILE, _NOTE = re.compile(r"part-\d+\.parquet"), re.compile(r"_part-\d+\.json")
_FILES = "_files.parquet"


@dataclass(frozen=True)
class Skipped:
    """A sample that could not be read, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Note:
    """The note of a complete part.

    Attributes:
        rows: rows of the part.
        skipped: samples that could not be read.
    """

    rows: int
    skipped: tuple[Skipped, ...]


class MeasuredSet:
    """A folder of Parquet files, called parts; each holds the readings of some samples of a source.

    After each part a note is written. It holds the part's number of rows, its size in bytes and the skipped samples. A
    part that has no note or another size is measured again.

    Attributes:
        store: the folder and its manifest.
        storage: the folder.

    Args:
        folder: a path, or the address of a folder in an object store.
        content: what error messages call the rows.
    """

    def __init__(self, folder: str | Path, content: str = _KIND.content) -> None:
        self.store = Store(folder, replace(_KIND, content=content))
        self.storage = self.store.storage

    @property
    def name(self) -> str:
        """The folder as the user gave it, without a password."""
        return self.store.name

    @classmethod
    def begin(
        cls,
        folder: str | Path,
        purpose: Mapping[str, Any],
        *,
        containers: Mapping[str, str] | None = None,
        part: int = PART,
        fresh: bool = False,
        content: str = _KIND.content,
    ) -> MeasuredSet:
        """Open a folder for a new measurement, or to continue the same one.

        Args:
            folder: the folder of the data set; it need not exist.
            purpose: what is measured, and with what; JSON values.
            containers: `Source.containers()`, if samples may be added or removed between runs.
            part: number of samples in a part, for a new measurement.
            fresh: remove an earlier measurement.
            content: what the rows are, as in "readings"; a folder of other rows is refused.

        Raises:
            OutputError: if the folder holds something else.
        """
        measured = cls(folder, content)
        # Not even `fresh` removes what another command wrote. Sets of earlier versions do not say what they hold.
        manifest = measured.storage.json(MANIFEST) if measured.exists() else None
        if (other := (manifest or {}).get(_CONTENT, content)) != content:
            raise OutputError(f"{measured.name} holds {other} and not {content}; choose another folder")
        purpose = as_json(purpose)

        def forbidding(recorded: Manifest, purpose: Manifest) -> list[str]:
            return _forbidding_changes(_checked(recorded, measured.name), purpose, containers)

        def list_changes(recorded: Manifest, purpose: Manifest) -> list[str]:
            return forbidding(recorded, purpose) if measured._parts() else []

        if fresh and measured.exists():
            measured.clear()  # even if the manifest is damaged: only gradmeter uses its name
            measured.storage.sweep()
            recorded: Manifest = {}  # the folder may hold files of others, as when it is continued
        else:
            recorded = measured.store.begin(purpose, changes=list_changes)
            # Without a row, as where a label was no class or no image could be read, a measurement is made anew.
            if recorded and not measured._parts() and forbidding(recorded, purpose):
                measured.clear()
                recorded = {}
        kept: dict[str, Any] = {_PART_SIZE: part, _BY_ID: False, _CONTAINERS: containers and dict(containers)}
        if recorded:
            changed, before = bool(changes(_purpose_of(recorded), purpose)), recorded.get(_CONTAINERS)
            kept = {
                **({} if changed else recorded),
                _PART_SIZE: recorded[_PART_SIZE],
                _BY_ID: recorded.get(_BY_ID, False) or changed,
                _CONTAINERS: before if containers is None else {**(before or {}), **containers},
            }
        measured.store.write({**purpose, **kept, _CONTENT: content})
        if kept[_BY_ID]:
            measured._remove_incomplete()
        return measured

    def _remove_incomplete(self) -> None:
        """Remove parts that are not complete, whose samples may be measured again in other parts."""
        complete = self.complete()
        for number in self._parts():
            if number not in complete:
                self.storage.remove(_file(number))

    def clear(self) -> None:
        """Remove the measurement, and no other file in the folder.

        Raises:
            OutputError: if that fails.
        """
        # The manifest is removed last: until then the folder is recognised as a measurement.
        files = [name for name in self.storage.sizes() if _NOTE.fullmatch(name) or _PART_FILE.fullmatch(name)]
        for _ in self.storage.each(self.storage.remove, files):
            pass
        self.storage.remove(_FILES)
        self.storage.remove(MANIFEST)

    def exists(self) -> bool:
        """Whether the folder holds a measurement, finished or not."""
        return self.store.exists()

    @property
    def part(self) -> int:
        """Number of samples in a part."""
        return int(self._manifest()[_PART_SIZE])

    @property
    def by_id(self) -> bool:
        """Whether samples were added or removed between runs; if not, a part's number implies its samples."""
        return bool(self._manifest().get(_BY_ID, False))

    @property
    def finished(self) -> bool:
        """Whether all samples were measured and all parts still exist."""
        manifest = self._manifest()
        return _ROWS in manifest and self.progress()[0] == manifest[_ROWS] + len(manifest[_SKIPPED])

    def purpose(self) -> Manifest:
        """The purpose that `begin` was given.

        Raises:
            DataError: if the folder is no data set of readings.
        """
        return _purpose_of(self._manifest())

    def _manifest(self) -> Manifest:
        manifest = self.store.read()
        if manifest is None:
            raise DataError(f"{self.name} holds no readings; expected a folder that gradmeter measure made")
        return _checked(manifest, self.name)

    def file_versions(self) -> FileVersions:
        """The versions of the files that were measured; none for sets of earlier versions.

        Raises:
            DataError: if they cannot be read.
        """
        if self.storage.size(_FILES) is None:
            return FileVersions.of([])
        table = self._table(_FILES)
        try:
            return FileVersions.from_arrow(table)
        except ValueError as error:
            raise self._unreadable(_FILES, error) from error

    def add_files(self, versions: FileVersions) -> None:
        """Record the versions of files that will be measured; earlier ones of other files are kept."""
        recorded = self.file_versions()
        if (added := versions.or_else(recorded)) != recorded:
            self.storage.write(_FILES, _parquet(added.table))

    def note(self, part: int) -> Note | None:
        """The note of a part; None if the part is not complete."""
        content = self.storage.json(_note_file(part))
        return None if content is None else _parse_note(content, self.storage.size(_file(part)))

    def write(self, part: int, table: pa.Table | None, skipped: Sequence[Skipped]) -> Note:
        """Write a part, whole or not at all.

        Args:
            part: its number.
            table: its rows; None if all samples were skipped.
            skipped: the samples that could not be read.

        Raises:
            OutputError: if the disk is full, the folder cannot be written, or the data set was removed.
        """
        if not self.exists():
            raise OutputError(f"{self.name} was removed or moved while it was written; run the command again")
        content = b"" if table is None else _parquet(table)
        if table is None:
            self.storage.remove(_file(part))  # a killed writer may have read more of the samples
        else:
            self.storage.write(_file(part), content)
        note = Note(0 if table is None else table.num_rows, tuple(skipped))
        records = [[sample.id, sample.reason] for sample in skipped]
        self.storage.write_json(_note_file(part), {"rows": note.rows, "bytes": len(content), "skipped": records})
        return note

    def forget_skipped(self, ids: Collection[str]) -> None:
        """Forget that samples were skipped, so that they are read again, in another part."""
        if not ids:
            return
        self.store.write({**self._manifest(), _BY_ID: True})
        self._remove_incomplete()
        for number, note in self.complete().items():
            kept = [[sample.id, sample.reason] for sample in note.skipped if sample.id not in ids]
            if len(kept) < len(note.skipped):
                content = self.storage.json(_note_file(number))
                self.storage.write_json(_note_file(number), {**(content or {}), "skipped": kept})

    def complete(self) -> dict[int, Note]:
        """The notes of all complete parts, by part number."""
        sizes = self.storage.sizes()
        numbers = sorted(_number(name) for name in sizes if _NOTE.fullmatch(name))
        contents = self.storage.each(self.storage.json, map(_note_file, numbers))
        notes = {
            number: _parse_note(content, sizes.get(_file(number)))
            for number, content in zip(numbers, contents, strict=True)
            if content is not None
        }
        return {number: note for number, note in notes.items() if note is not None}

    def ids(self, complete: Mapping[int, Note] | None = None) -> set[str]:
        """The ids of all samples that were measured or skipped.

        Args:
            complete: what `complete` returned, if it was called before.
        """
        ids = set[str]()
        for number, note in (self.complete() if complete is None else complete).items():
            ids.update(sample.id for sample in note.skipped)
            if note.rows:
                ids.update(self._read(number, ["id"])["id"].to_pylist())
        return ids

    def finish(self, gone: Collection[str] = ()) -> tuple[int, tuple[Skipped, ...]]:
        """Write the number of rows and the skipped samples into the manifest; return both.

        Args:
            gone: ids of samples that were measured or skipped and no longer exist.

        Raises:
            OutputError: if the disk is full or the folder cannot be written.
        """
        done, skipped = self.progress()
        rows = done - len(skipped)
        records = [{"id": sample.id, "reason": sample.reason} for sample in skipped]
        self.store.write({**self._manifest(), _ROWS: rows, _SKIPPED: records, _GONE: sorted(gone)})
        return rows, skipped

    def gone(self) -> frozenset[str]:
        """The ids that `finish` was given last."""
        return frozenset(self._manifest().get(_GONE, ()))

    def progress(self) -> tuple[int, tuple[Skipped, ...]]:
        """The number of samples that were measured or skipped, and the skipped samples."""
        notes = self.complete().values()
        skipped = tuple(sample for note in notes for sample in note.skipped)
        return sum(note.rows for note in notes) + len(skipped), skipped

    def tables(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield the parts in order, one in memory at a time (from an object store, a few).

        Args:
            columns: columns to read, of those that exist; by default all.

        Raises:
            DataError: if there is no part, or one is damaged.
        """
        numbers = self._parts()
        if not numbers:
            raise DataError(f"{self.name} holds no readings yet; run gradmeter measure to its end")
        yield from self.storage.each(partial(self._read, columns=columns), numbers)

    def right(self) -> tuple[int, int] | None:
        """The number of right predictions and the number of samples with a label; None if no sample has a label."""
        return right_predictions(self.tables(["label", "prediction"]))

    def readings(self) -> Readings:
        """All readings; they must fit into memory."""
        from gradmeter.reading.readings import Readings  # imports PyTorch

        return Readings.concatenate([Readings.from_arrow(table) for table in self.tables()])

    def output_layers(self) -> tuple[str, ...]:
        """Names of the layers whose outputs are in the readings; empty if there are none yet, or other rows."""
        from gradmeter.reading.columns import NOTE, Layout  # imports PyTorch

        part = next(filter(self.note, self._parts()), None)
        if part is None or NOTE not in ((table := self._read(part, ["id"])).schema.metadata or {}):
            return ()
        return Layout.described(table).outputs or ()

    def _parts(self) -> list[int]:
        """Numbers of the part files, complete or not."""
        # Sort numbers, not names: beyond 99,999 the names have different lengths.
        return sorted(_number(name) for name in self.storage.sizes() if _PART_FILE.fullmatch(name))

    def _read(self, part: int, columns: list[str] | None) -> pa.Table:
        return self._table(_file(part), columns)

    def _table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        try:
            with self.storage.open(name) as stream, pq.ParquetFile(stream, page_checksum_verification=True) as file:
                return file.read(columns)
        except MemoryError:  # pa.ArrowMemoryError is one, too
            raise
        except (OSError, pa.ArrowException) as error:
            raise self._unreadable(name, error) from error

    def _unreadable(self, name: str, error: BaseException) -> DataError:
        return DataError(
            f"{self.name}/{name} cannot be read ({one_line(error)}); if it is damaged, delete it and run "
            "the command that made it"
        )


def right_predictions(tables: Iterable[pa.Table]) -> tuple[int, int] | None:
    """The number of right predictions and the number of rows with a label; None if no row has a label."""
    right, labelled = 0, 0
    for table in tables:
        if "label" in table.column_names:
            right += pc.sum(pc.equal(table["label"], table["prediction"])).as_py() or 0
            labelled += len(table) - table["label"].null_count
    return (right, labelled) if labelled else None


def _file(part: int) -> str:
    return f"part-{part:05}.parquet"


def _note_file(part: int) -> str:
    return f"_part-{part:05}.json"


def _number(name: str) -> int:
    """The part's number in the name of its file or note."""
    return int(name.partition(".")[0].rpartition("-")[2])


def _parquet(table: pa.Table) -> pa.Buffer:
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream, compression="zstd", write_page_checksum=True)
    return stream.getvalue()


def _parse_note(content: Mapping[str, Any], size: int | None) -> Note | None:
    """The note that `write` wrote; None if it is damaged or its size differs from that of the part's file."""
    if not _is_note(content) or (content["rows"] and size != content["bytes"]):
        return None
    return Note(content["rows"], tuple(Skipped(*record) for record in content["skipped"]))


def _checked(manifest: Manifest, name: str) -> Manifest:
    """The manifest, after a check of the types of its entries.

    Raises:
        DataError: if an entry has a wrong type.
    """
    size, containers, skipped = manifest[_PART_SIZE], manifest.get(_CONTAINERS), manifest.get(_SKIPPED, [])
    gone = manifest.get(_GONE, [])
    if not (
        _is_count(size)
        and size != 0
        and (containers is None or isinstance(containers, dict))
        and _is_count(manifest.get(_ROWS, 0))
        and isinstance(skipped, list)
        and isinstance(gone, list)
        and all(isinstance(id_, str) for id_ in gone)
    ):
        raise DataError(f"{name}/{MANIFEST} was changed; measure again with --fresh")
    return manifest


def _is_note(content: Mapping[str, Any]) -> bool:
    skipped = content.get("skipped")
    return (
        _is_count(content.get("rows"))
        and _is_count(content.get("bytes"))
        and isinstance(skipped, list)
        and all(isinstance(record, list) and [type(part) for part in record] == [str, str] for record in skipped)
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _purpose_of(manifest: Manifest) -> Manifest:
    """The entries of a manifest that `MeasuredSet.begin` was given."""
    other_keys = {_PART_SIZE, _CONTAINERS, _BY_ID, _ROWS, _SKIPPED, _GONE, _CONTENT}
    return {key: value for key, value in manifest.items() if key not in other_keys}


def _forbidding_changes(recorded: Manifest, purpose: Manifest, containers: Mapping[str, str] | None) -> list[str]:
    """List the changes because of which a measurement cannot be continued; named samples may be added and removed."""
    before, earlier = recorded.get(_CONTAINERS), _purpose_of(recorded)
    listed = changes(earlier, purpose)
    if not listed or before is None or containers is None or not is_same_data(earlier, purpose):
        return listed
    if all(before[name] == containers[name] for name in {*before} & {*containers}):
        return []
    if containers:
        listed.append("samples of a table or an archive have no names by which they could be recognised")
    return listed
