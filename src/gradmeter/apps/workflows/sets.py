"""Data sets of a fit or an evaluation: opening DATA, measuring it if necessary, and its readings on disk."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradmeter.errors import DataError, InputError, warn
from gradmeter.names import decode_name, encode_name, listed
from gradmeter.reading.content import HASH_COLUMN
from gradmeter.reading.network import weights_hash
from gradmeter.reading.readings import Readings
from gradmeter.runs.measuring import MeasuredSet, Skipped, Work, measure
from gradmeter.runs.measuring.filling import none_readable, place_of
from gradmeter.runs.measuring.purpose import CLASSES, PLACE, has_same_outputs
from gradmeter.sources.models import Classifier, Recipe
from gradmeter.sources.samples import ArrayKind, Source, Unlabelled, arrays_of, no_labels, open_source, scheme_of
from gradmeter.sources.samples.folders import ImageFolder
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.one_per import OnePer

# Longest name of a folder of readings in bytes. File systems allow 255, and temporary files need some of them.
_MAX_NAME_BYTES = 128
# Classes that a message names.
_NAMED = 3


@dataclass(frozen=True, eq=False)
class ReadSet:
    """A measured data set.

    Attributes:
        name: short and unique name, for tables.
        measured: the readings.
        source: the samples; None if DATA is a folder of readings whose samples cannot be found or have changed.
        skipped: samples that could not be read.
        gone: ids of samples that an earlier run measured or skipped, and that DATA no longer holds; they do not count.
    """

    name: str
    measured: MeasuredSet
    source: Source | None
    skipped: tuple[Skipped, ...]
    gone: frozenset[str] = frozenset()

    @property
    def identity(self) -> dict[str, Any]:
        """DATA as the user named it, a hash of its list of samples, and one of its place."""
        purpose = self.measured.purpose()
        return _identity(purpose["data"], purpose["contents"], purpose.get(PLACE))

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes of the data, in the order of their numbers; None if they have no names."""
        names = self.measured.purpose().get(CLASSES)
        return None if names is None else list(names)

    def __len__(self) -> int:
        """The number of samples, including those that could not be read."""
        return self.measured.progress()[0] - len(self.gone)

    def tables(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows, one table per part; parts without any are left out.

        Args:
            columns: columns to read, of those that exist; by default all.
        """
        if not self.gone:
            yield from self.measured.tables(columns)
            return
        gone = pa.array(self.gone, pa.string())
        for table in self.measured.tables(None if columns is None else ["id", *columns]):
            present = table.filter(pc.invert(pc.is_in(table["id"], gone)))
            if len(present):
                yield present

    def labelled_tables(self) -> Iterator[pa.Table]:
        """Yield the rows with a label, one table per part; parts without such rows are left out.

        Raises:
            DataError: if no row has a label.
        """
        has_labels = False
        for table in self.tables():
            if "label" not in table.column_names:
                raise no_labels(self.name)
            labelled = table.filter(pc.is_valid(table["label"]))
            if len(labelled):
                has_labels = True
                yield labelled
        if not has_labels:  # the column holds only nulls
            raise no_labels(self.name)

    def missing_labels(self) -> int:
        """Return how many rows of data with labels have none, as null or -1 in a Parquet file; they do not count."""
        return sum(t["label"].null_count for t in self.tables(["label"]) if "label" in t.column_names)

    def contents(self) -> NDArray[np.uint64]:
        """Return the hashes of the inputs by `gradmeter.reading.content`; readings of earlier versions have none."""
        tables = self.tables([HASH_COLUMN])
        parts = [table[HASH_COLUMN].to_numpy() for table in tables if HASH_COLUMN in table.column_names]
        return np.concatenate([np.empty(0, np.uint64), *parts])

    def readings(self) -> Readings:
        """Return all readings, which must fit into memory."""
        return Readings.concatenate([Readings.from_arrow(table) for table in self.tables()])


@dataclass(frozen=True)
class ToMeasure:
    """A data set that is opened but not measured yet, with a short and unique name."""

    name: str
    source: Source

    @property
    def identity(self) -> dict[str, Any]:
        """The identity of the measured set, see `ReadSet.identity`."""
        return _identity(self.source.name, self.source.fingerprint(), place_of(self.source))

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes of the data, see `ReadSet.classes`."""
        return None if self.source.classes is None else list(self.source.classes)


def _identity(data: str, contents: str, place: str | None) -> dict[str, Any]:
    # A TrustModel that is passed on should not tell where its maker kept the data.
    hashed = None if place is None else hashlib.sha256(place.encode()).hexdigest()
    return {"data": data, "contents": contents, "place": hashed}


def recipe_for(recipe: Recipe, data: str) -> Recipe:
    """Return the recipe of the classifier for DATA: one that takes arrays, if DATA, or its readings, are of arrays.

    Raises:
        DataError: if DATA is a damaged archive or damaged readings.
    """
    if (measured := MeasuredSet(data)).exists():
        values = measured.purpose().get("arrays")
        arrays = None if values is None else ArrayKind.from_json(values)
    else:
        arrays = arrays_of(data)
    return recipe if arrays is None else replace(recipe, arrays=arrays)


def open_sets(
    classifier: Classifier, known: str, unknowns: Sequence[str], *, one_per: str | None = None, seed: int = 0
) -> list[ReadSet | ToMeasure]:
    """Open known and unknown data, and check them before anything is measured.

    Args:
        classifier: the network and its preprocessing.
        known: DATA with labels.
        unknowns: DATA of none of the network's classes.
        one_per: a column of the known data that names the patient, object or scene of each sample, or a regular
            expression for the part of an id that names it; of each, one sample is used. None for all samples.
        seed: seed of noise.

    Returns:
        One set for each DATA, the known data first. Readings of `gradmeter measure` need not be measured again.

    Raises:
        DataError: if DATA does not exist, the known data have no labels or classes that the network does not have,
            unknown data are the known data, or readings are incomplete or of another network or other class names.
        InputError: for an invalid kind of noise, or `one_per` that is invalid, matches no known sample, or is given
            with readings.
    """
    sets: list[ReadSet | ToMeasure] = []
    is_column = False
    for data in (known, *unknowns):
        name = _short_name(data, [other.name for other in sets])
        if (measured := MeasuredSet(data)).exists():
            if one_per is not None:
                raise InputError(
                    f"--one-per with {measured.name}, which holds readings; expected the samples themselves"
                )
            read = _read_measured(classifier, measured, name, labelled=not sets)
            if sets:
                _warn_of_known_classes(classifier.classes or sets[0].classes, name, read.classes, all_occur=False)
            sets.append(read)
            continue
        source = open_source(data, classifier.image, arrays=classifier.arrays, labels=not sets, seed=seed)
        has_folders = isinstance(source, ImageFolder)
        if one_per is not None and scheme_of(data) is None:
            is_column = is_column if sets else one_per in source.columns
            source = OnePer(source, one_per, is_column=is_column)
            if not sets:
                source.require_groups()
        if sets:
            # Compare the locations: distorted copies of the known data have the same file names.
            if scheme_of(data) is None and Location(data).is_same(Location(known)):
                raise DataError(
                    f"{name} is given as known data and as unknown data; unknown data must be of none of the classes"
                )
            names = classifier.classes or sets[0].classes
            _warn_of_known_classes(names, name, source.classes, all_occur=has_folders)
            source = Unlabelled(source)
        elif not source.labelled:
            raise no_labels(name)
        else:
            classifier.class_numbers(source)
        sets.append(ToMeasure(name, source))
    return sets


def read_sets(
    classifier: Classifier,
    opened: Sequence[ReadSet | ToMeasure],
    folder: Path,
    work: Work,
    *,
    gradients: bool = True,
    second_look: bool = True,
    layers: tuple[str, ...] = (),
) -> list[ReadSet]:
    """Measure the sets that are not measured yet.

    Args:
        classifier: the network and its preprocessing.
        opened: the sets of `open_sets`.
        folder: folder to write readings to.
        work: device, workers and callbacks.
        gradients: whether to measure gradients, or only what one forward pass shows.
        second_look: whether to predict the mirror image of each image, too.
        layers: the layers whose outputs to read; by default those of the first set.

    Raises:
        Those of `measure`.
        DataError: if an input is in the known data and in unknown data, by its content.
    """
    sets: list[ReadSet] = []
    for data in opened:
        if isinstance(data, ToMeasure):
            suffix = readings_suffix(gradients=gradients, second_look=second_look)
            path = place_for(_file_name(data.name), suffix, data.source, folder)
            measured = measure(
                classifier, data.source, path, work, gradients=gradients, second_look=second_look, layers=layers
            )
            data = _present(ReadSet(data.name, MeasuredSet(path), data.source, measured.skipped))
        elif removed := len(data.measured.gone() - {sample.id for sample in data.skipped}):
            work.on_note(
                f"{data.name}: {removed:,} of its {len(data) - len(data.skipped):,} readings are of samples that were "
                "moved or removed before it was last measured; they count, with the labels of then; measure it again "
                "with --fresh to leave them out"
            )
        sets.append(data)
        layers = layers or data.measured.output_layers()
    if missing := sets[0].missing_labels():
        work.on_note(f"{sets[0].name}: {missing:,} of its samples have no label and are left out")
    known = sets[0].contents()
    for unknown in sets[1:]:
        shared = np.isin(contents := unknown.contents(), known)
        if shared.any():
            raise DataError(
                f"{shared.sum():,} of the {len(contents):,} inputs of {unknown.name} are also in {sets[0].name}; "
                "no input may be in both: remove them from one"
            )
    return sets


def place_for(stem: str, suffix: str, source: Source, folder: Path) -> Path:
    """Return the path, in a folder, for readings of a source; it may hold earlier ones of it, but none of other data.

    Its name begins with `stem` and ends in `suffix`.
    """
    stems = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(path for stem in stems if not _holds_others(path := folder / f"{stem}{suffix}", source))


def _holds_others(path: Path, source: Source) -> bool:
    """Whether a folder holds readings of other data, which may have the same short name."""
    measured = MeasuredSet(path)
    try:
        earlier = measured.purpose() if measured.exists() else {}
    except DataError:  # damaged, which `measure` explains
        return False
    key, now = (PLACE, place_of(source)) if PLACE in earlier else ("data", source.name)
    return bool(earlier.get(key, now) != now)


def _present(data: ReadSet) -> ReadSet:
    """The set without samples that no longer exist.

    Raises:
        DataError: if no other sample can be read.
    """
    gone = data.measured.gone()
    skipped = tuple(sample for sample in data.skipped if sample.id not in gone)
    data = replace(data, skipped=skipped, gone=gone)
    if len(data) == len(skipped):
        assert data.source is not None
        raise none_readable(data.source, skipped)
    return data


def readings_suffix(*, gradients: bool, second_look: bool = True) -> str:
    """Return the end of the name of a folder of readings; those of different passes may lie side by side."""
    return f"{'' if gradients else '-forward'}{'' if second_look else '-once'}.parquet"


def _read_measured(classifier: Classifier, measured: MeasuredSet, name: str, *, labelled: bool) -> ReadSet:
    purpose = measured.purpose()
    expected = {"weights": weights_hash(classifier.network), "preprocessing": repr(classifier.batch)}
    for key, value in expected.items():
        if purpose[key] != value:
            raise DataError(
                f"{measured.name} holds readings of {purpose['model']} with other {key} than {classifier.name} has "
                "here; measure the data again"
            )
    # The noise of arrays is that of the first data, which may be others than when these readings were measured.
    if classifier.arrays is None and not has_same_outputs(purpose, classifier.trial_excerpt()):
        raise DataError(
            f"{measured.name} holds readings of {purpose['model']}, which gives other outputs on the same noise now, "
            "so its code has changed; restore it, or measure the data again"
        )
    # Labels are class numbers, which were looked up by the names of the classes.
    names = purpose.get(CLASSES)
    if labelled and names and _numbers(names, purpose.get("classes")) != _numbers(names, classifier.classes):
        raise DataError(
            f"{measured.name} holds labels that were measured with other class names of {purpose['model']}; give the "
            "same --classes as then, or measure the data again"
        )
    count, skipped = measured.progress()
    if not measured.finished:
        raise DataError(
            f"{measured.name} is incomplete, with readings of {count:,} of {purpose['samples']:,} samples; run "
            "gradmeter measure again to complete it"
        )
    try:
        source: Source | None = open_source(
            decode_name(purpose["data"]), classifier.image, arrays=classifier.arrays, labels=False
        )
    except DataError:  # readings may be copied to another machine without the samples
        source = None
    if source is not None and (
        source.fingerprint() != purpose["contents"] or source.file_versions().differing_from(measured.file_versions())
    ):
        source = None
    return ReadSet(name, measured, source, skipped)


def _warn_of_known_classes(
    known: Sequence[str] | None, name: str, classes: Sequence[str] | None, *, all_occur: bool
) -> None:
    """Warn if unknown data have classes of the network; numbers may be names of any classes.

    Args:
        known: the names of the network's classes.
        name: of the unknown data.
        classes: names of their classes.
        all_occur: whether each class has samples, as if it is a folder. A list of names may have more.
    """
    shared = [given for given in classes or () if given in (known or ())]
    if all(given.isdecimal() for given in shared) or not (all_occur or len(shared) == len(classes or ())):
        return
    warn(
        f"{name} is given as unknown data, but has class names of the network ({listed(shared, _NAMED)}); all "
        "predictions for its inputs count as wrong: give inputs of none of the classes, and new ones of them as known "
        "data"
    )


def _numbers(names: Sequence[str], classes: Sequence[str] | None) -> list[int | None]:
    """Return the class numbers of names as `Classifier.class_numbers` does; None for a name that is no class."""
    if classes is None or [*names] == [*classes]:
        return [*range(len(names))]
    return [classes.index(name) if name in classes else None for name in names]


def _short_name(data: str, taken: Sequence[str]) -> str:
    has_scheme = scheme_of(data) is not None
    name = ":".join(data.split(":")[:2]) if has_scheme else encode_name(Path(Location(data).path()).stem)
    candidates = (name, *(f"{name} ({number})" for number in range(2, len(taken) + 4)))
    # The names of columns and groups of the results are reserved.
    reserved = [_file_name(other) for other in (*taken, "right", "wrong", "wrong or unknown")]
    return next(candidate for candidate in candidates if _file_name(candidate) not in reserved)


def _file_name(name: str) -> str:
    """Return a valid file name; a long name is cut and gets a hash."""
    plain = re.sub(r"[^\w.-]+", "-", name)
    encoded = plain.encode()
    if len(encoded) <= _MAX_NAME_BYTES:
        return plain
    return f"{encoded[:_MAX_NAME_BYTES].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
