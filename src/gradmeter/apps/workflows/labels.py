"""The workflow of `gradmeter labels`: how likely each label of DATA is right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradmeter.apps.workflows.label_notes import note_on_rate, notes_on
from gradmeter.apps.workflows.label_reading import ReadLabels, read_samples
from gradmeter.apps.workflows.label_review import require_unchanged
from gradmeter.errors import InputError, OutputError
from gradmeter.files import (
    is_incidental,
    remove_earlier,
    require_path,
    require_short_name,
    sweep,
    sweep_beside,
)
from gradmeter.names import class_name, encode_name
from gradmeter.runs.measuring import Skipped, Work
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import Source
from gradmeter.tables import read_metadata, write_table
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.labels import LabelCheck, LabelReadings, LabelVerdicts
from gradmeter.trust.labels.folds import folds_of
from gradmeter.trust.labels.heads import out_of_fold
from gradmeter.trust.labels.reasons import REASONS
from gradmeter.trust.reads import AUTO, FORWARD, GRADIENTS, ReadsChoice

COLUMNS = ("rank", "id", "label", "p_label", "suggestion", "reason", "layers")
"""Columns of the table of labels."""

READINGS = "readings"
"""Folder of the readings, in the folder of the review."""

REVIEW, LABEL_STUDIO, FIFTYONE, REPORT = "review.csv", "label_studio.json", "fiftyone.json", "report.html"
"""Names of the lists and of the report, in the folder of the review."""

_NOTE = b"gradmeter labels"
# Rows of the table that are made together.
_TILE = 8192


@dataclass(frozen=True, eq=False)
class CheckedLabels:
    """The result of a check.

    Attributes:
        table: one row for each sample, in the order of the data, with `COLUMNS`.
        verdicts: the verdicts in the same order.
        read: the samples.
        source: where they are from.
        classes: names of the network's classes; None if they have none.
        model: name of the network.
        learned: whether out-of-fold heads judged, and not the network's own last layer.
        reads: "forward" or "gradients"; with "auto", the one that was chosen.
        notes: sentences on the data.
        out: path of the table.
    """

    table: pa.Table
    verdicts: LabelVerdicts
    read: ReadLabels
    source: Source
    classes: tuple[str, ...] | None
    model: str
    learned: bool
    reads: str
    notes: tuple[str, ...]
    out: Path

    @property
    def rate(self) -> Interval:
        """The estimated share of wrong labels."""
        return self.verdicts.rate

    @property
    def choice(self) -> ReadsChoice | None:
        """Whether gradients count, and why; None if only the forward pass was to be used."""
        return self.verdicts.choice

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Samples that could not be read, or have no label."""
        return self.read.skipped

    @property
    def reasons(self) -> dict[str, int]:
        """The number of labels with each reason."""
        return {reason: int((self.verdicts.reason == reason).sum()) for reason in REASONS}

    @property
    def folder(self) -> Path:
        """Folder of what is made for a review."""
        return review_folder(self.out)

    def ranked(self) -> NDArray[np.int64]:
        """Return the rows that have a reason, the most suspicious first."""
        order = np.argsort(self.verdicts.rank)
        doubtful: NDArray[np.int64] = order[self.verdicts.reason[order] != ""]
        return doubtful

    def class_name(self, number: int) -> str:
        """Return the name of a class, or its number if the classes have no names."""
        return class_name(self.classes, number)


def review_folder(out: Path) -> Path:
    """Return the folder beside a table for the report, the lists for annotators and the readings."""
    return out.with_suffix(".review")


def check_labels(
    classifier: Classifier,
    source: Source,
    out: Path,
    work: Work,
    *,
    learned: bool = False,
    reads: str = FORWARD,
    folds: int = 5,
    seed: int = 0,
) -> CheckedLabels:
    """Check all labels of a source, and write the table; continue an earlier run that was interrupted.

    The lists and the report of an earlier table are removed before it is replaced.

    Args:
        classifier: the network and its preprocessing.
        source: the samples with their labels.
        out: path of the table, which ends in .parquet.
        work: device, engine and callbacks.
        learned: whether the network learned from these labels; then heads that are fitted out of fold judge.
        reads: "forward", "gradients" to use these, too, if they help, or "auto" to read them only if they help for some
            labels; see `LabelCheck`. Of labels that the network learned, "auto" reads the forward pass only.
        folds: number of folds.
        seed: of all random choices.

    Raises:
        InputError: for gradients of labels that the network learned, or too few samples.
        DataError: if the source has no labels or other classes than the network, or no sample can be read.
        OutputError: if the table or its folder exists and holds something else, or somebody has filled in the list.
    """
    if learned and reads == GRADIENTS:
        raise InputError(
            "--learned with --reads gradients: a network that learned a wrong label has a small gradient there; give "
            "one of the two"
        )
    require_ours(out)
    read = read_samples(classifier, source, review_folder(out) / READINGS, work, gradients=reads == GRADIENTS)
    inputs = read.inputs
    if learned:
        inputs.require_two_classes()
        fold = folds_of(inputs, folds, seed)
        inputs = replace(inputs, probabilities=out_of_fold(inputs.embedding, inputs.labels, inputs.classes, fold, seed))
    reads = FORWARD if learned and reads == AUTO else reads
    verdicts = LabelCheck(reads=reads, folds=folds, seed=seed).fit_predict(inputs)
    if reads == AUTO and verdicts.choice is not None:
        reads = verdicts.choice.reads
    names = classifier.classes or (None if source.classes is None else source.classes)
    notes = (*notes_on(inputs, names, conflicts=verdicts.conflicts), *note_on_rate(verdicts.rate))
    for note in notes:
        work.on_note(f"{source.name}: {note}")
    table = _table(read.ids, inputs, verdicts, names)
    how = "heads" if learned else "network"
    require_unchanged(review_folder(out) / REVIEW, out)  # somebody may have filled it in while the samples were read
    sweep_beside(out)
    sweep(review_folder(out))
    remove_earlier(review_folder(out) / name for name in (REPORT, REVIEW, LABEL_STUDIO, FIFTYONE))
    write_table(out, table.replace_schema_metadata({_NOTE: how.encode()}))
    return CheckedLabels(table, verdicts, read, source, names, classifier.name, learned, reads, notes, out)


def require_ours(out: Path) -> None:
    """Check the name of the table, that it and its folder are new or from an earlier run and were not filled in.

    Raises:
        OutputError: if they are not.
    """
    require_path(out)
    name = encode_name(str(out))
    if out.suffix.lower() != ".parquet":
        raise OutputError(f"--out {name}; expected the name of a table that ends in .parquet, as in labels.parquet")
    require_short_name(out)
    if out.exists():
        try:
            metadata = read_metadata(out)
        except (OSError, pa.ArrowException):
            metadata = {}
        if _NOTE not in metadata:
            raise OutputError(f"{name} exists and was not written by gradmeter labels; choose another name")
    folder = review_folder(out)
    if not folder.exists():
        return
    present = {path.name for path in folder.iterdir() if not is_incidental(path)} if folder.is_dir() else {""}
    if present and READINGS not in present:
        raise OutputError(
            f"{encode_name(str(folder))} exists and was not written by gradmeter labels; choose another --out"
        )
    require_unchanged(folder / REVIEW, out)


def _table(
    ids: pa.ChunkedArray, inputs: LabelReadings, verdicts: LabelVerdicts, names: tuple[str, ...] | None
) -> pa.Table:
    """Return the table of labels in the order of the data, made in tiles because Python's strings are large."""
    starts = range(0, len(verdicts), _TILE)
    return pa.concat_tables(
        _tile(ids, inputs, verdicts, names, slice(start, min(start + _TILE, len(verdicts)))) for start in starts
    )


def _tile(
    ids: pa.ChunkedArray,
    inputs: LabelReadings,
    verdicts: LabelVerdicts,
    names: tuple[str, ...] | None,
    rows: slice,
) -> pa.Table:
    def classes(numbers: Any) -> list[Any]:
        listed: list[int] = numbers.tolist()
        return listed if names is None else [names[number] for number in listed]

    kind = pa.int64() if names is None else pa.string()
    reasons = [reason or None for reason in verdicts.reason[rows].tolist()]
    suggestions = zip(classes(verdicts.suggestion[rows]), reasons, strict=True)
    return pa.table(
        {
            "rank": verdicts.rank[rows],
            "id": ids.slice(rows.start, rows.stop - rows.start),
            "label": pa.array(classes(np.asarray(inputs.labels[rows])), kind),
            "p_label": verdicts.p_label[rows],
            "suggestion": pa.array([None if reason is None else value for value, reason in suggestions], kind),
            "reason": pa.array(reasons, pa.string()),
            "layers": pa.array([list(layers) for layers in verdicts.layers[rows]], pa.list_(pa.string())),
        }
    )
