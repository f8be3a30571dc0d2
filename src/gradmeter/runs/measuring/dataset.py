"""The Parquet data set that a measurement becomes: parts that appear whole, so that a killed run can go on."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradmeter.errors import DataError, OutputError, one_line
from gradmeter.reading.readings import Readings
from gradmeter.runs.measuring.storage import Storage

# Arrow, pandas and Spark pass over its name, since that begins with an underscore.
from gradmeter.sources.samples.opening import MANIFEST

PART = 1024
"""Samples of a part, where nothing speaks against it: what a killed run loses at most."""

_PART_SIZE, _CONTAINERS, _BY_ID = "samples of a part", "containers", "goes by id"
_ROWS, _SKIPPED, _GONE = "rows", "skipped", "gone"
_PART_FILE, _NOTE = re.compile(r"part-\d+\.parquet"), re.compile(r"_part-\d+\.json")
_PLACE = "place"
# What of a purpose may be another when samples came or went.
_OF_SAMPLES = {"contents", "samples"}


@dataclass(frozen=True)
class Skipped:
    """A sample that could not be read, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Note:
    """What is known of a part that is complete.

    Attributes:
        rows: of the part.
        skipped: samples that could not be read.
    """

    rows: int
    skipped: tuple[Skipped, ...]


class MeasuredSet:
    """A folder of Parquet parts, each of which holds what was read of a range of a source's samples.

    Beside every part lies a note, written after it, of its rows, its bytes and what was skipped: a part without its
    note, or of another size, is made anew.

    Attributes:
        storage: the folder.

    Args:
        folder: a path, or the address of a folder in an object store.
    """

    def __init__(self, folder: str | Path) -> None:
        self.storage = Storage(folder)

    @property
    def name(self) -> str:
        """As the user gave it, without a password."""
        return self.storage.name

    @classmethod
    def begin(
        cls,
        folder: str | Path,
        purpose: Mapping[str, Any],
        *,
        containers: Mapping[str, str] | None = None,
        part: int = PART,
        fresh: bool = False,
    ) -> MeasuredSet:
        """Open a folder for what is to be measured, or one where the same was begun.

        Args:
            folder: of the data set; it need not exist.
            purpose: what is measured, with what; JSON values.
            containers: `Source.containers`, where samples may have come or gone since.
            part: samples of a part, if nothing was begun.
            fresh: remove what was measured there before.

        Raises:
            OutputError: if something else is there.
        """
        measured = cls(folder)
        storage = measured.storage
        kept: dict[str, Any] = {_PART_SIZE: part, _BY_ID: False, _CONTAINERS: containers and dict(containers)}
        purpose = json.loads(json.dumps(purpose))  # as it comes back
        there = measured.exists()
        begun: dict[str, Any] = {}
        if there and fresh:
            measured.clear()
        elif there:
            begun = measured._manifest()
            told, before = _told(begun), begun.get(_CONTAINERS)
            found = changes(told, purpose)
            only_samples = not changes(told, {**purpose, **_of_samples(begun)})
            if found and not (only_samples and _agree(before, containers)):
                if only_samples and containers:
                    found += "; in a table or an archive they have numbers and no names to know them by"
                raise OutputError(f"{storage.name} was begun otherwise ({found}); choose another name or give --fresh")
            kept = {
                **({} if found else begun),
                _PART_SIZE: begun[_PART_SIZE],
                _BY_ID: begun.get(_BY_ID, False) or bool(found),
                _CONTAINERS: before if containers is None else {**(before or {}), **containers},
            }
        elif storage.location.is_file() or storage.sizes():
            raise OutputError(f"{storage.name} is there and holds no readings; choose another name")
        storage.sweep()
        measured._write_manifest({**purpose, **kept}, begun)
        if kept[_BY_ID]:
            complete = measured.complete()
            for number in measured._parts():
                if number not in complete:  # it may not come again
                    storage.remove(_file(number))
        return measured

    def clear(self) -> None:
        """Remove what was measured, and nothing else that lies in the folder.

        Raises:
            OutputError: if that fails.
        """
        # What tells whose it is goes last.
        ours = [name for name in self.storage.sizes() if _NOTE.fullmatch(name) or _PART_FILE.fullmatch(name)]
        for _ in self.storage.each(self.storage.remove, ours):
            pass
        self.storage.remove(MANIFEST)

    def exists(self) -> bool:
        """Whether something was begun there."""
        return self.storage.size(MANIFEST) is not None

    @property
    def part(self) -> int:
        """Samples of a part."""
        return int(self._manifest()[_PART_SIZE])

    @property
    def by_id(self) -> bool:
        """Whether samples came or went between two runs: then a part's number says no more which samples it is of."""
        return bool(self._manifest().get(_BY_ID, False))

    @property
    def finished(self) -> bool:
        """Whether all samples were done, and all parts are still here."""
        manifest = self._manifest()
        return _ROWS in manifest and self.progress()[0] == manifest[_ROWS] + len(manifest[_SKIPPED])

    def purpose(self) -> dict[str, Any]:
        """What `begin` was told.

        Raises:
            DataError: if the folder is no data set of readings.
        """
        return _told(self._manifest())

    def _manifest(self) -> dict[str, Any]:
        found = self.storage.json(MANIFEST)
        if found is None and not self.exists():
            raise DataError(f"{self.name} holds no readings; expected a folder that gradmeter measure made")
        if found is None or not _is_manifest(found):
            raise DataError(f"{self.name}/{MANIFEST} was changed; measure again with --fresh")
        return found

    def _write_manifest(self, content: dict[str, Any], before: dict[str, Any]) -> None:
        # One that is as it was is left alone: to write is to risk what is there.
        if content != before:
            self.storage.write_json(MANIFEST, content, indent=2)

    def note(self, part: int) -> Note | None:
        """What is known of a part; None where it is not complete."""
        found = self.storage.json(_note_file(part))
        return None if found is None else _note(found, self.storage.size(_file(part)))

    def write(self, part: int, table: pa.Table | None, skipped: Sequence[Skipped]) -> Note:
        """Write a part, whole or not at all.

        Args:
            part: its number.
            table: its rows; None where all samples were skipped.
            skipped: what could not be read.

        Raises:
            OutputError: if the disk is full or the folder cannot be written.
        """
        content = b"" if table is None else _parquet(table)
        if table is None:
            self.storage.remove(_file(part))  # a writer that was killed may have seen more
        else:
            self.storage.write(_file(part), content)
        note = Note(0 if table is None else table.num_rows, tuple(skipped))
        written = [[one.id, one.reason] for one in skipped]
        self.storage.write_json(_note_file(part), {"rows": note.rows, "bytes": len(content), "skipped": written})
        return note

    def complete(self) -> dict[int, Note]:
        """What is known of the parts that are complete, by their numbers."""
        sizes = self.storage.sizes()
        numbers = sorted(_number(name) for name in sizes if _NOTE.fullmatch(name))
        found = self.storage.each(self.storage.json, map(_note_file, numbers))
        notes = {
            number: _note(one, sizes.get(_file(number)))
            for number, one in zip(numbers, found, strict=True)
            if one is not None
        }
        return {number: note for number, note in notes.items() if note is not None}

    def ids(self, complete: Mapping[int, Note] | None = None) -> set[str]:
        """Of all samples that are done, those that were skipped among them.

        Args:
            complete: what `complete` found, if that is known.
        """
        found = set[str]()
        for number, note in (self.complete() if complete is None else complete).items():
            found.update(one.id for one in note.skipped)
            if note.rows:
                found.update(self._read(number, ["id"])["id"].to_pylist())
        return found

    def finish(self, gone: Collection[str] = ()) -> tuple[int, tuple[Skipped, ...]]:
        """Write into the manifest how many rows there are, and what was skipped and why; both come back.

        Args:
            gone: ids of samples whose rows are here and which are not there any more.

        Raises:
            OutputError: if the disk is full or the folder cannot be written.
        """
        done, skipped = self.progress()
        rows = done - len(skipped)
        listed = [{"id": one.id, "reason": one.reason} for one in skipped]
        before = self._manifest()
        self._write_manifest({**before, _ROWS: rows, _SKIPPED: listed, _GONE: sorted(gone)}, before)
        return rows, skipped

    def progress(self) -> tuple[int, tuple[Skipped, ...]]:
        """How many samples are done, and those of them that were skipped."""
        notes = self.complete().values()
        skipped = tuple(one for note in notes for one in note.skipped)
        return sum(note.rows for note in notes) + len(skipped), skipped

    def tables(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The parts in order, one in memory at a time (of a store some); of all columns, or those of these there are.

        Raises:
            DataError: if there is none, or one is damaged.
        """
        numbers = self._parts()
        if not numbers:
            raise DataError(f"{self.name} holds no readings yet; run gradmeter measure to its end")
        yield from self.storage.each(partial(self._read, columns=columns), numbers)

    def right(self) -> tuple[int, int] | None:
        """How many predictions are right, and how many have a label; None where none has."""
        right, labelled = 0, 0
        for table in self.tables(["label", "prediction"]):
            if "label" in table.column_names:
                right += pc.sum(pc.equal(table["label"], table["prediction"])).as_py() or 0
                labelled += len(table) - table["label"].null_count
        return (right, labelled) if labelled else None

    def readings(self) -> Readings:
        """All readings; they must fit into memory."""
        return Readings.concatenate([Readings.from_arrow(table) for table in self.tables()])

    def _parts(self) -> list[int]:
        """Numbers of the parts that are there, complete or not."""
        # Of more than 100,000 the names are of different lengths.
        return sorted(_number(name) for name in self.storage.sizes() if _PART_FILE.fullmatch(name))

    def _read(self, part: int, columns: list[str] | None) -> pa.Table:
        try:
            with self.storage.open(_file(part)) as stream, pq.ParquetFile(stream) as file:
                return file.read(columns)
        except MemoryError:  # Arrow's, too
            raise
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{self.name}/{_file(part)} cannot be read ({one_line(error)}); where it is damaged, delete it and run "
                "the command that made it"
            ) from error


def _file(part: int) -> str:
    return f"part-{part:05}.parquet"


def _note_file(part: int) -> str:
    return f"_part-{part:05}.json"


def _number(name: str) -> int:
    """Of the part that a file is, or is a note of."""
    return int(name.partition(".")[0].rpartition("-")[2])


def _parquet(table: pa.Table) -> pa.Buffer:
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def _note(found: Mapping[str, Any], size: int | None) -> Note | None:
    """What `write` noted; None where the part, of so many bytes, is not complete."""
    if not _is_note(found) or (found["rows"] and size != found["bytes"]):
        return None
    return Note(found["rows"], tuple(Skipped(*one) for one in found["skipped"]))


def _is_manifest(found: Mapping[str, Any]) -> bool:
    """Whether what `MeasuredSet` itself wrote is of its kind; the rest is whoever's who gave it."""
    size, containers, skipped = found.get(_PART_SIZE), found.get(_CONTAINERS), found.get(_SKIPPED, [])
    return (
        _is_count(size)
        and size != 0
        and (containers is None or isinstance(containers, dict))
        and _is_count(found.get(_ROWS, 0))
        and isinstance(skipped, list)
    )


def _is_note(found: Mapping[str, Any]) -> bool:
    skipped = found.get("skipped")
    return (
        _is_count(found.get("rows"))
        and _is_count(found.get("bytes"))
        and isinstance(skipped, list)
        and all(isinstance(one, list) and [type(part) for part in one] == [str, str] for one in skipped)
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _told(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Of a manifest what `MeasuredSet.begin` was told."""
    own = {_PART_SIZE, _CONTAINERS, _BY_ID, _ROWS, _SKIPPED, _GONE}
    return {key: value for key, value in manifest.items() if key not in own}


def _of_samples(purpose: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in purpose.items() if key in _OF_SAMPLES}


def _agree(before: Mapping[str, str] | None, now: Mapping[str, str] | None) -> bool:
    """Whether what is in both is the same."""
    return before is not None and now is not None and all(before[name] == now[name] for name in {*before} & {*now})


def changes(begun: Mapping[str, Any], purpose: Mapping[str, Any]) -> str:
    """What is different from what was begun, in words; empty where nothing is."""
    differing = {key for key in {**begun, **purpose} if begun.get(key) != purpose.get(key)}
    if _PLACE not in begun or "data" in differing:  # of an earlier version; or said already
        differing.discard(_PLACE)
    found = []
    if "data" not in differing and differing & _OF_SAMPLES:
        counts = f"; the number of samples was {begun.get('samples')}, is {purpose.get('samples')}"
        number = counts if "samples" in differing else ""
        differing -= _OF_SAMPLES
        found.append(f"the data changed since: samples came, went or were renamed{number}")
    # Hashes say nothing to a reader.
    for key, words in (
        ("contents", "other samples"),
        ("weights", "the hash of the weights was another"),
        ("fit", "another TrustModel"),
        (_PLACE, f"{purpose.get('data')} was {begun.get(_PLACE)}, is {purpose.get(_PLACE)}"),
    ):
        if key in differing:
            differing.remove(key)
            found.append(words)
    return "; ".join([*found, *(f"{key} was {begun.get(key)}, is {purpose.get(key)}" for key in sorted(differing))])
