"""The Parquet data set that a measurement becomes: parts that appear whole, so that a killed run can go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradmeter.errors import DataError, OutputError
from gradmeter.files import sweep, whole, write_text
from gradmeter.readings import Readings

# Arrow, pandas and Spark pass over its name, since that begins with an underscore.
from gradmeter.samples.opening import MANIFEST


@dataclass(frozen=True)
class Skipped:
    """A sample that could not be read, and why."""

    id: str
    reason: str


class MeasuredSet:
    """A folder of Parquet parts, each of which holds what was read of a range of a source's samples.

    Beside every part lies a note, written after it, of what was skipped: a part without its note is made anew.

    Attributes:
        folder: the data set.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def begin(cls, folder: Path, purpose: Mapping[str, Any], *, fresh: bool = False) -> MeasuredSet:
        """Open a folder for what is to be measured, or one where the same was begun.

        Args:
            folder: of the data set; it need not exist.
            purpose: what is measured, with what; JSON values.
            fresh: remove what was measured there before.

        Raises:
            OutputError: if something else is there.
        """
        measured, manifest = cls(folder), folder / MANIFEST
        purpose = json.loads(json.dumps(purpose))  # as it comes back
        if fresh and manifest.is_file():
            shutil.rmtree(folder)
        if folder.exists() and not manifest.is_file():
            if not folder.is_dir() or any(folder.iterdir()):
                raise OutputError(f"{folder} is there and holds no readings; choose another name")
        elif folder.exists():
            begun = measured.purpose()
            if found := changes(begun, purpose):
                raise OutputError(f"{folder} was begun otherwise ({found}); choose another name or give --fresh")
        sweep(folder)
        write_text(manifest, json.dumps(purpose, indent=2, sort_keys=True) + "\n")
        return measured

    def purpose(self) -> dict[str, Any]:
        """What `begin` was told.

        Raises:
            DataError: if the folder is no data set of readings.
        """
        try:
            found: dict[str, Any] = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.folder} holds no readings; expected a folder that gradmeter measure made"
            ) from error
        return found

    def done(self, part: int) -> bool:
        """Whether a part is complete."""
        return self._note(part).is_file()

    def write(self, part: int, table: pa.Table | None, skipped: Sequence[Skipped]) -> None:
        """Write a part, whole or not at all.

        Args:
            part: its number.
            table: its rows; None where all samples were skipped.
            skipped: what could not be read.

        Raises:
            OutputError: if the disk is full or the folder cannot be written.
        """
        if table is not None:
            with whole(self.folder / f"part-{part:05}.parquet") as temporary:
                pq.write_table(table, temporary, compression="zstd")
        note = {"rows": 0 if table is None else table.num_rows, "skipped": [[one.id, one.reason] for one in skipped]}
        write_text(self._note(part), json.dumps(note, ensure_ascii=False) + "\n")

    def count(self, part: int) -> tuple[int, list[Skipped]]:
        """Rows of a part that is done, and what it skipped."""
        note = json.loads(self._note(part).read_text(encoding="utf-8"))
        return note["rows"], [Skipped(*one) for one in note["skipped"]]

    def progress(self) -> tuple[int, tuple[Skipped, ...]]:
        """How many samples are done, and those of them that were skipped."""
        notes = sorted(self.folder.glob("_part-*.json"))
        counts = [self.count(int(note.stem.removeprefix("_part-"))) for note in notes]
        skipped = tuple(one for _, missed in counts for one in missed)
        return sum(rows for rows, _ in counts) + len(skipped), skipped

    def tables(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The parts in order, one in memory at a time; of all columns, or of those of these that there are.

        Raises:
            DataError: if there is none, or one is damaged.
        """
        paths = sorted(self.folder.glob("part-*.parquet"))
        if not paths:
            raise DataError(f"{self.folder} holds no readings yet; run gradmeter measure to its end")
        for path in paths:
            try:
                with pq.ParquetFile(path) as file:
                    table = file.read(columns)
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{path} is damaged ({error}); measure again with --fresh") from error
            yield table

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

    def _note(self, part: int) -> Path:
        return self.folder / f"_part-{part:05}.json"


def changes(begun: Mapping[str, Any], purpose: Mapping[str, Any]) -> str:
    """What is different from what was begun, in words; empty where nothing is."""
    differing = {key for key in {**begun, **purpose} if begun.get(key) != purpose.get(key)}
    found = []
    if "data" not in differing and differing & {"contents", "samples"}:
        counts = f"; the number of samples was {begun.get('samples')}, is {purpose.get('samples')}"
        number = counts if "samples" in differing else ""
        differing -= {"contents", "samples"}
        found.append(f"the data changed since: samples came, went or were renamed{number}")
    # Hashes say nothing to a reader.
    for key, words in (
        ("contents", "other samples"),
        ("weights", "the hash of the weights was another"),
        ("fit", "another TrustModel"),
    ):
        if key in differing:
            differing.remove(key)
            found.append(words)
    return "; ".join([*found, *(f"{key} was {begun.get(key)}, is {purpose.get(key)}" for key in sorted(differing))])
