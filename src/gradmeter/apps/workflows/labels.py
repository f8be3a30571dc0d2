"""The workflow of `gradmeter labels`: how likely each label of DATA is right."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradmeter.apps.workflows.label_reading import ReadLabels, read_samples
from gradmeter.errors import InputError, OutputError
from gradmeter.files import atomic_write, is_temporary, sweep_beside
from gradmeter.names import encode_name
from gradmeter.report.probabilities import percent
from gradmeter.runs.measuring import Skipped, Work
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import Source
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.labels import LabelCheck, LabelReadings, LabelVerdicts
from gradmeter.trust.labels.check import folds_of
from gradmeter.trust.labels.heads import out_of_fold
from gradmeter.trust.labels.reasons import REASONS
from gradmeter.trust.reads import FORWARD, GRADIENTS

COLUMNS = ("rank", "id", "label", "p_label", "suggestion", "reason", "layers")
"""Columns of the table of labels."""

READINGS = "readings"
"""Folder of the readings, in the folder of the review."""

# A network that agrees with this share of the labels has probably learned from them.
_LEARNED = 0.998
_NOTE = b"gradmeter labels"
# Fewer labels tell little about what wrong ones look like.
_FEW = 200
# With so few samples, what the network predicts for a class says nothing about the order of the classes.
_FEW_OF_CLASS = 20
# Classes named in a note.
_NAMED = 5
# An interval of the share of wrong labels that is wider says nothing.
_OPEN = 0.5
# Rows that are in memory together.
_TILE = 4096


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
        reads: "forward" or "gradients".
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
    def skipped(self) -> tuple[Skipped, ...]:
        """Samples that could not be read, or have no label."""
        return self.read.measured.skipped

    @property
    def reasons(self) -> dict[str, int]:
        """The number of labels with each reason."""
        counts = Counter(self.verdicts.reason.tolist())
        return {reason: counts[reason] for reason in REASONS}

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
        return str(number) if self.classes is None else self.classes[number]


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

    Args:
        classifier: the network and its preprocessing.
        source: the samples with their labels.
        out: path of the table, which ends in .parquet.
        work: device, engine and callbacks.
        learned: whether the network learned from these labels; then heads that are fitted out of fold judge.
        reads: "forward", or "gradients" to use these, too.
        folds: number of folds.
        seed: of all random choices.

    Raises:
        InputError: for gradients of labels that the network learned, or too few samples.
        DataError: if the source has no labels or other classes than the network, or no sample can be read.
        OutputError: if the table or its folder exists and holds something else.
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
        fold = folds_of(inputs, folds, seed)
        inputs = replace(inputs, probabilities=out_of_fold(inputs.embedding, inputs.labels, inputs.classes, fold, seed))
    verdicts = LabelCheck(gradients=reads == GRADIENTS, folds=folds, seed=seed).fit_predict(inputs)
    names = classifier.classes or (None if source.classes is None else source.classes)
    notes = (*_notes(inputs, names, learned=learned), *_open_rate(verdicts.rate))
    for note in notes:
        work.on_note(f"{source.name}: {note}")
    table = _table(read.ids, inputs, verdicts, names)
    how = "heads" if learned else "network"
    with atomic_write(out) as temporary, temporary.open("wb") as file:
        pq.write_table(table.replace_schema_metadata({_NOTE: how.encode()}), file, compression="zstd")
    return CheckedLabels(table, verdicts, read, source, names, classifier.name, learned, reads, notes, out)


def require_ours(out: Path) -> None:
    """Check the name of the table, and that it and its folder are new or from an earlier run.

    Raises:
        OutputError: if they are not.
    """
    name = encode_name(str(out))
    if out.suffix.lower() != ".parquet":
        raise OutputError(f"--out {name}; expected the name of a table that ends in .parquet, as in labels.parquet")
    sweep_beside(out)
    if out.exists():
        try:
            metadata = pq.read_schema(out).metadata or {}
        except (OSError, pa.ArrowException):
            metadata = {}
        if _NOTE not in metadata:
            raise OutputError(f"{name} exists and was not written by gradmeter labels; choose another name")
    folder = review_folder(out)
    if not folder.exists():
        return
    present = {path.name for path in folder.iterdir() if not is_temporary(path)} if folder.is_dir() else {""}
    if present and READINGS not in present:
        raise OutputError(
            f"{encode_name(str(folder))} exists and was not written by gradmeter labels; choose another --out"
        )


def _table(ids: list[str], inputs: LabelReadings, verdicts: LabelVerdicts, names: tuple[str, ...] | None) -> pa.Table:
    """Return the table of labels in the order of the data."""

    def classes(numbers: Any) -> pa.Array:
        return pa.array(numbers if names is None else [names[number] for number in numbers.tolist()])

    doubtful = verdicts.reason != ""
    suggestion = classes(verdicts.suggestion)
    return pa.table(
        {
            "rank": verdicts.rank,
            "id": pa.array(ids, pa.string()),
            "label": classes(np.asarray(inputs.labels)),
            "p_label": verdicts.p_label,
            "suggestion": pa.array(
                [value if shown else None for value, shown in zip(suggestion.to_pylist(), doubtful, strict=True)],
                suggestion.type,
            ),
            "reason": pa.array([reason or None for reason in verdicts.reason.tolist()], pa.string()),
            "layers": pa.array([list(layers) for layers in verdicts.layers], pa.list_(pa.string())),
        }
    )


def _notes(inputs: LabelReadings, names: tuple[str, ...] | None, *, learned: bool) -> tuple[str, ...]:
    """Return sentences on data that the check judges badly."""
    notes = []
    labels = np.asarray(inputs.labels)
    counts = np.bincount(labels, minlength=inputs.classes)

    def listed(classes: Any) -> str:
        shown = [str(number) if names is None else names[number] for number in classes[:_NAMED].tolist()]
        return ", ".join(shown) + (f" and {len(classes) - _NAMED:,} more" if len(classes) > _NAMED else "")

    if len(labels) < _FEW:
        notes.append(f"{len(labels):,} labels are few; P(the label is right) and the share of wrong labels are rough")
    if len(absent := np.flatnonzero(counts == 0)):
        notes.append(f"no sample has the label {listed(absent)}")
    if len(single := np.flatnonzero(counts == 1)):
        notes.append(f"one sample only has the label {listed(single)}; no neighbour can confirm it")
    if conflicts := _conflicts(inputs):
        notes.append(f"{conflicts:,} inputs occur more than once with different labels; at least one of each is wrong")
    if not learned and len(labels) >= _FEW:
        predictions = np.concatenate(
            [inputs.logits[start : start + _TILE].argmax(axis=1) for start in range(0, len(labels), _TILE)]
        )
        agreement = float((predictions == labels).mean())
        if agreement >= _LEARNED:
            notes.append(
                f"the network agrees with {percent(agreement, 2)} % of the labels; if it was trained on them, give "
                "--learned, or wrong labels that it learned stay hidden"
            )
        notes += [
            f"the network predicts {listed(np.array([most]))} for {percent(share, 0)} % of the samples with the label "
            f"{listed(np.array([label]))}; if the classes are in another order than the network's outputs, give "
            "--classes in the right order: the check takes a label that nearly always contradicts the network for right"
            for label, most, share in _contradicted(predictions, labels)[:_NAMED]
        ]
    return tuple(notes)


def _open_rate(rate: Interval) -> tuple[str, ...]:
    """Return a sentence if the labels do not tell how many of them are wrong."""
    if rate.high - rate.low <= _OPEN:
        return ()
    return (
        "the share of wrong labels cannot be told from these labels and this network: check more labels, or use a "
        "network that agrees with more of them",
    )


def _contradicted(predictions: NDArray[np.int64], labels: NDArray[np.int64]) -> list[tuple[int, int, float]]:
    """Return the labels that most predictions contradict: (label, class predicted most often, its share)."""
    found = []
    for label in np.unique(labels).tolist():
        predicted, counts = np.unique(predictions[labels == label], return_counts=True)
        most = int(counts.argmax())
        if counts.sum() >= _FEW_OF_CLASS and predicted[most] != label and 2 * counts[most] > counts.sum():
            found.append((label, int(predicted[most]), float(counts[most] / counts.sum())))
    return found


def _conflicts(inputs: LabelReadings) -> int:
    """Return the number of distinct inputs that occur with different labels."""
    if inputs.contents is None:
        return 0
    pairs = np.unique(np.stack([inputs.contents, np.asarray(inputs.labels).astype(np.uint64)], axis=1), axis=0)
    return int((np.unique(pairs[:, 0], return_counts=True)[1] > 1).sum())
