"""DATA, as a user names it, to readings on disk, measured where they are not yet."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradmeter.errors import DataError
from gradmeter.names import decode_name, encode_name
from gradmeter.reading.content import HASH_COLUMN
from gradmeter.reading.network import weights_hash
from gradmeter.reading.readings import Readings
from gradmeter.runs.measuring import MeasuredSet, Skipped, Work, measure
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import Source, Unlabelled, open_source, scheme_of
from gradmeter.sources.samples.location import Location

# Bytes of the name of a folder of readings; file systems take 255, and its parts need some.
_LONGEST = 128


@dataclass(frozen=True, eq=False)
class ReadSet:
    """Readings of one DATA.

    Attributes:
        name: short, for tables, and no other's.
        measured: the readings.
        source: the samples themselves; None where DATA are readings whose samples are not at hand, or changed since.
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
        """The rows that have a label, a part at a time; parts without such rows are left out.

        Raises:
            DataError: if there are no labels.
        """
        has_labels = False
        for table in self.measured.tables():
            if "label" not in table.column_names:
                raise _no_labels(self.name)
            labelled = table.filter(pc.is_valid(table["label"]))
            if len(labelled):
                has_labels = True
                yield labelled
        if not has_labels:  # there is a column, and nothing in it
            raise _no_labels(self.name)

    def contents(self) -> NDArray[np.uint64]:
        """Hashes of the inputs, as `gradmeter.reading.content` makes them; none of readings that came without them."""
        tables = self.measured.tables([HASH_COLUMN])
        parts = [table[HASH_COLUMN].to_numpy() for table in tables if HASH_COLUMN in table.column_names]
        return np.concatenate([np.empty(0, np.uint64), *parts])

    def readings(self) -> Readings:
        """All readings; they must fit into memory."""
        return self.measured.readings()


@dataclass(frozen=True)
class ToMeasure:
    """DATA that is opened and not measured yet: a short name, and the samples."""

    name: str
    source: Source

    @property
    def identity(self) -> dict[str, Any]:
        """That of the set that it will be."""
        return {"data": self.source.name, "contents": self.source.fingerprint()}


def open_sets(
    classifier: Classifier, known: str, unknowns: Sequence[str], *, seed: int = 0
) -> list[ReadSet | ToMeasure]:
    """Open known data and unknown data, and check all that can be checked before anything is measured.

    Args:
        classifier: the network and its preprocessing.
        known: DATA with labels.
        unknowns: DATA of no class.
        seed: of noise.

    Returns:
        One set for each, the known data first; those that `gradmeter measure` has measured already are read.

    Raises:
        DataError: if one is not there, the known data have no labels or other classes than the network, unknown data
            are the known data, or readings are of another network, of classes that had other names, or not complete.
        InputError: for a kind of noise that is not known.
    """
    sets: list[ReadSet | ToMeasure] = []
    for data in (known, *unknowns):
        name = _short_name(data, [one.name for one in sets])
        if (measured := MeasuredSet(data)).exists():
            sets.append(_measured_before(classifier, measured, name, labelled=not sets))
            continue
        source = open_source(data, classifier.image, seed=seed)
        if sets:
            # Others may have the same names and contents of their own: distorted copies, say.
            if scheme_of(data) is None and Location(data).is_same(Location(known)):
                raise DataError(f"{name} is given as known and as unknown data; expected other data of no class")
            source = Unlabelled(source)
        elif not source.labelled:
            raise _no_labels(name)
        else:
            classifier.class_numbers(source)
        sets.append(ToMeasure(name, source))
    return sets


def read_sets(classifier: Classifier, opened: Sequence[ReadSet | ToMeasure], folder: Path, work: Work) -> list[ReadSet]:
    """Measure what is opened and not measured yet.

    Args:
        classifier: the network and its preprocessing.
        opened: the sets.
        folder: where readings are written.
        work: how to go about it.

    Raises:
        Those of `measure`.
        DataError: if an input is in the known data and in unknown data, by its content.
    """
    sets: list[ReadSet] = []
    for one in opened:
        if isinstance(one, ToMeasure):
            place = folder / f"{_file_name(one.name)}.parquet"
            done = measure(classifier, one.source, place, work)
            one = ReadSet(one.name, MeasuredSet(place), one.source, done.skipped)
        sets.append(one)
    known = sets[0].contents()
    for unknown in sets[1:]:
        shared = np.isin(contents := unknown.contents(), known)
        if shared.any():
            raise DataError(
                f"{shared.sum():,} of the {len(contents):,} inputs of {unknown.name} are also in {sets[0].name}; "
                "expected no input in both: leave them out of one"
            )
    return sets


def _no_labels(name: str) -> DataError:
    return DataError(f"{name} has no labels; expected one folder for each class, or a column or array of labels")


def _measured_before(classifier: Classifier, measured: MeasuredSet, name: str, *, labelled: bool) -> ReadSet:
    purpose = measured.purpose()
    expected = {"weights": weights_hash(classifier.network), "preprocessing": repr(classifier.batch)}
    for what, value in expected.items():
        if purpose[what] != value:
            raise DataError(
                f"{measured.name} holds readings of {purpose['model']} with other {what}; expected those of "
                f"{classifier.name} as it is here: measure again"
            )
    # Labels are numbers of the network's classes, which were found by their names.
    names = purpose.get("names of classes")
    if labelled and names and _numbers(names, purpose.get("classes")) != _numbers(names, classifier.classes):
        raise DataError(
            f"{measured.name} holds labels that were numbered by other names of the classes of {purpose['model']}; "
            "expected the same --classes, or none, as when they were measured: measure again"
        )
    done, skipped = measured.progress()
    if not measured.finished:
        raise DataError(
            f"{measured.name} holds readings of {done:,} of {purpose['samples']:,} samples; run gradmeter measure to "
            "its end"
        )
    try:
        source: Source | None = open_source(decode_name(purpose["data"]), classifier.image)
    except DataError:  # the readings may have been brought here without their samples
        source = None
    if source is not None and source.fingerprint() != purpose["contents"]:
        source = None
    return ReadSet(name, measured, source, skipped)


def _numbers(names: Sequence[str], classes: Sequence[str] | None) -> list[int | None]:
    """Of classes by name the network's numbers, as `Classifier.class_numbers` finds them."""
    if classes is None or [*names] == [*classes]:
        return [*range(len(names))]
    return [classes.index(name) if name in classes else None for name in names]


def _short_name(data: str, taken: Sequence[str]) -> str:
    has_scheme = scheme_of(data) is not None
    name = ":".join(data.split(":")[:2]) if has_scheme else encode_name(Path(Location(data).path()).stem)
    names = (name, *(f"{name} ({number})" for number in range(2, len(taken) + 4)))
    # Names of columns and groups, too, are taken.
    files = [_file_name(one) for one in (*taken, "right", "wrong", "wrong or unknown")]
    return next(one for one in names if _file_name(one) not in files)


def _file_name(name: str) -> str:
    """A name of a folder for every name; a long one is cut, and marked by a hash."""
    plain = re.sub(r"[^\w.-]+", "-", name)
    encoded = plain.encode()
    if len(encoded) <= _LONGEST:
        return plain
    return f"{encoded[:_LONGEST].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
