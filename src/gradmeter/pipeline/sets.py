"""DATA, as a user names it, to readings on disk, measured where they are not yet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gradmeter.errors import DataError
from gradmeter.measuring import MeasuredSet, Skipped, Work, measure
from gradmeter.models import Classifier
from gradmeter.network import weights_hash
from gradmeter.readings import Readings
from gradmeter.samples import Source, Unlabelled, open_source


@dataclass(frozen=True, eq=False)
class ReadSet:
    """Readings of one DATA.

    Attributes:
        name: short, for tables, and no other's.
        measured: the readings.
        source: the samples themselves; None where DATA are readings whose samples are not at hand.
        skipped: samples that could not be read.
    """

    name: str
    measured: MeasuredSet
    source: Source | None
    skipped: tuple[Skipped, ...]

    @property
    def identity(self) -> dict[str, Any]:
        """What two sets of the same samples share: the name of DATA, and a hash of which samples there are."""
        purpose = self.measured.purpose()
        return {"data": purpose["data"], "contents": purpose["contents"]}

    def labelled_tables(self) -> Iterator[pa.Table]:
        """The rows that have a label, a part at a time.

        Raises:
            DataError: if there are no labels.
        """
        for table in self.measured.tables():
            if "label" not in table.column_names:
                raise DataError(
                    f"{self.name} has no labels; expected one folder for each class, or a column or array of labels"
                )
            yield table.filter(pc.is_valid(table["label"]))

    def readings(self) -> Readings:
        """All readings; they must fit into memory."""
        return self.measured.readings()


def read_sets(
    classifier: Classifier,
    known: str,
    unknowns: Sequence[str],
    folder: Path,
    work: Work,
    *,
    seed: int = 0,
) -> list[ReadSet]:
    """Measure known data and unknown data, those that `gradmeter measure` has not measured already.

    Args:
        classifier: the network and its preprocessing.
        known: DATA with labels.
        unknowns: DATA of no class.
        folder: where readings are written.
        work: how to go about it.
        seed: of noise.

    Returns:
        One set for each, the known data first.

    Raises:
        DataError: for readings of another network or that are not complete, and as `measure` does.
    """
    sets: list[ReadSet] = []
    for data in (known, *unknowns):
        name = _short_name(data, [one.name for one in sets])
        if (Path(data) / "_measurement.json").is_file():
            sets.append(_measured_before(classifier, data, name))
            continue
        source = open_source(data, classifier.image, seed=seed)
        if sets:
            source = Unlabelled(source)
        place = folder / f"{_file_name(name)}.parquet"
        done = measure(classifier, source, place, work)
        sets.append(ReadSet(name, MeasuredSet(place), source, done.skipped))
    return sets


def _measured_before(classifier: Classifier, data: str, name: str) -> ReadSet:
    measured = MeasuredSet(Path(data))
    purpose = measured.purpose()
    expected = {"weights": weights_hash(classifier.network), "preprocessing": repr(classifier.batch)}
    for what, value in expected.items():
        if purpose[what] != value:
            raise DataError(
                f"{data} holds readings of {purpose['model']} with other {what}; expected those of {classifier.name} "
                "as it is here: measure again"
            )
    done, skipped = measured.progress()
    if done < purpose["samples"]:
        raise DataError(
            f"{data} holds readings of {done:,} of {purpose['samples']:,} samples; run gradmeter measure to its end"
        )
    try:
        source = open_source(purpose["data"], classifier.image)
    except DataError:  # the readings may have been brought here without their samples
        source = None
    return ReadSet(name, measured, source, skipped)


def _short_name(data: str, taken: Sequence[str]) -> str:
    name = ":".join(data.split(":")[:2]) if data.startswith("noise:") else Path(data).resolve().stem
    names = (name, *(f"{name} ({number})" for number in range(2, len(taken) + 4)))
    # Names of columns, too, are taken.
    files = [_file_name(one) for one in (*taken, "wrong", "wrong or unknown")]
    return next(one for one in names if _file_name(one) not in files)


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)
