"""Lists of doubtful labels for people who check them: CSV, and JSON for Label Studio and FiftyOne."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from gradmeter.apps.workflows.labels import CheckedLabels
from gradmeter.files import write_text
from gradmeter.names import decode_name
from gradmeter.sources.samples import ImageFolder, Unreadable
from gradmeter.version import __version__

REVIEW, LABEL_STUDIO, FIFTYONE = "review.csv", "label_studio.json", "fiftyone.json"
"""Names of the lists."""

_COLUMNS = ("rank", "id", "label", "suggestion", "p_label", "reason")
# Label Studio serves files below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT at this address.
_LOCAL = "/data/local-files/?d="


def write_lists(checked: CheckedLabels) -> None:
    """Write the three lists into the folder of the review, the most suspicious labels first.

    Raises:
        OutputError: if the folder cannot be written.
    """
    rows = checked.table.take(checked.ranked()).to_pylist()
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(checked.folder / REVIEW, stream.getvalue())
    indices = checked.read.indices[checked.ranked()].tolist()
    tasks = [_task(checked, row, index) for row, index in zip(rows, indices, strict=True)]
    _write_json(checked.folder / LABEL_STUDIO, tasks)
    _write_json(checked.folder / FIFTYONE, _fiftyone(checked))


def _task(checked: CheckedLabels, row: dict[str, Any], index: int) -> dict[str, Any]:
    """Return a task with a pre-annotation, in the basic JSON format of Label Studio."""
    key, value = _content(checked, row["id"], index)
    facts = {name: row[name] for name in _COLUMNS}
    result = {"from_name": "label", "to_name": key, "type": "choices", "value": {"choices": [str(row["suggestion"])]}}
    prediction = {"model_version": f"gradmeter {__version__}", "score": 1 - row["p_label"], "result": [result]}
    return {"data": {key: value, **facts}, "predictions": [prediction]}


def _content(checked: CheckedLabels, name: str, index: int) -> tuple[str, str]:
    """Return the name of the field that Label Studio shows, and its value."""
    if not checked.source.texts:
        is_folder = isinstance(checked.source, ImageFolder)
        return "image", f"{_LOCAL}{quote(decode_name(name))}" if is_folder else name
    try:
        return "text", str(checked.source.read(index).content)
    except Unreadable:  # it has changed since it was read
        return "text", name


def _fiftyone(checked: CheckedLabels) -> dict[str, Any]:
    """Return all labels in the format of FiftyOneImageClassificationDataset; images are named without extension."""
    labels = {}
    for row in checked.table.to_pylist():
        attributes = {name: row[name] for name in ("rank", "suggestion", "reason") if row[name] is not None}
        name = str(PurePosixPath(row["id"]).with_suffix(""))
        labels[name] = {"label": str(row["label"]), "confidence": row["p_label"], "attributes": attributes}
    return {**({} if checked.classes is None else {"classes": list(checked.classes)}), "labels": labels}


def _write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
