"""Lists of doubtful labels for people who check them: CSV, and JSON for Label Studio and FiftyOne."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TextIO
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from gradmeter.apps.workflows.label_review import COLUMNS, TILE, write_review
from gradmeter.apps.workflows.labels import FIFTYONE, LABEL_STUDIO, REVIEW, CheckedLabels
from gradmeter.files import atomic_write
from gradmeter.names import decode_name
from gradmeter.report.thumbnails import data_uri, thumbnail
from gradmeter.sources.samples import ImageFolder, Unreadable
from gradmeter.sources.samples.array_kind import summary
from gradmeter.sources.samples.location import is_address
from gradmeter.trust.adapters.fiftyone import image_key
from gradmeter.version import __version__

# Label Studio serves files below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT at this address.
_LOCAL = "/data/local-files/?d="
# Longer side of a picture inside a task.
_SIDE = 256


def write_lists(checked: CheckedLabels) -> None:
    """Write the lists into the folder of the review, the most suspicious labels first.

    Raises:
        OutputError: if the folder cannot be written.
    """
    with _written(checked.folder / REVIEW) as file:
        write_review(file, (row for row, _ in _facts(checked, checked.ranked())))
    with _written(checked.folder / LABEL_STUDIO) as file:
        _write_items(file, "[]", _tasks(checked))
        file.write("\n")
    if not _has_fiftyone(checked):
        (checked.folder / FIFTYONE).unlink(missing_ok=True)
        return
    with _written(checked.folder / FIFTYONE) as file:
        classes = "" if checked.classes is None else f'"classes": {_json(list(checked.classes))},\n'
        file.write(f'{{{classes}"labels": ')
        _write_items(file, "{}", _fiftyone(checked))
        file.write("}\n")


def _has_fiftyone(checked: CheckedLabels) -> bool:
    """Whether there is a list for FiftyOne, which shows files of images and knows them by names without extension."""
    if checked.source.texts or checked.source.arrays is not None:
        return False
    ids = [name for batch in checked.table.to_batches(TILE) for name in batch["id"].to_pylist()]
    # The images of an archive are numbered.
    return all(PurePosixPath(name).suffix for name in ids) and len({*map(image_key, ids)}) == len(ids)


def _facts(checked: CheckedLabels, rows: NDArray[np.int64]) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield rows of the table, and their indices in the source."""
    for start in range(0, len(rows), TILE):
        tile = rows[start : start + TILE]
        yield from zip(checked.table.take(tile).to_pylist(), checked.read.indices[tile].tolist(), strict=True)


def _tasks(checked: CheckedLabels) -> Iterator[str]:
    """Yield the tasks for doubtful labels, the most suspicious first.

    They are made in the order of the data and wait in a temporary file beside the lists, which take as much room:
    Parquet files are fast to read forwards only.
    """
    ranked = checked.ranked()
    order = np.argsort(checked.read.indices[ranked])
    starts, lengths = np.empty(len(ranked), np.int64), np.empty(len(ranked), np.int64)
    with tempfile.TemporaryFile(dir=checked.folder) as file:
        for rank, (row, index) in zip(order, _facts(checked, ranked[order]), strict=True):
            starts[rank] = file.tell()
            lengths[rank] = file.write(_json(_task(checked, row, index)).encode())
        for start, length in zip(starts, lengths, strict=True):
            file.seek(int(start))
            yield file.read(int(length)).decode()


def _task(checked: CheckedLabels, row: dict[str, Any], index: int) -> dict[str, Any]:
    """Return a task with a pre-annotation, in the basic JSON format of Label Studio."""
    key, value = _content(checked, row["id"], index)
    facts = {name: row[name] for name in COLUMNS}
    result = {"from_name": "label", "to_name": key, "type": "choices", "value": {"choices": [str(row["suggestion"])]}}
    prediction = {"model_version": f"gradmeter {__version__}", "score": 1 - row["p_label"], "result": [result]}
    return {"data": {key: value, **facts}, "predictions": [prediction]}


def _content(checked: CheckedLabels, name: str, index: int) -> tuple[str, str]:
    """Return the name of the field that Label Studio shows, and its value.

    This is the address of an image that lies in a folder on this machine, else a small picture, a text, or the first
    numbers of arrays.
    """
    source = checked.source
    shown = "text" if source.texts or source.arrays is not None else "image"
    if isinstance(source, ImageFolder) and not is_address(decode_name(source.name)):
        return shown, _LOCAL + quote(decode_name(name), errors="surrogateescape")
    try:
        content = source.read(index).content
    except Unreadable:  # it has changed since it was read
        return shown, name
    if isinstance(content, dict):
        return shown, summary(content)
    return shown, content if isinstance(content, str) else data_uri(thumbnail(content, _SIDE))


def _fiftyone(checked: CheckedLabels) -> Iterator[str]:
    """Yield the entries of FiftyOneImageClassificationDataset for all labels; images are named without extension."""
    for batch in checked.table.to_batches(TILE):
        for row in batch.to_pylist():
            attributes = {name: row[name] for name in ("rank", "suggestion", "reason") if row[name] is not None}
            label = {"label": str(row["label"]), "confidence": row["p_label"], "attributes": attributes}
            # In ASCII: a name may hold bytes that are no UTF-8.
            yield f"{json.dumps(image_key(row['id']))}: {_json(label)}"


@contextmanager
def _written(path: Path) -> Iterator[TextIO]:
    """Yield a text file that appears whole or not at all; a list of many labels is never in memory as a whole."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file


def _write_items(file: TextIO, brackets: str, items: Iterable[str]) -> None:
    """Write items of JSON, each on a line."""
    file.write(brackets[0])
    for number, item in enumerate(items):
        file.write(f"{',' * (number > 0)}\n{item}")
    file.write(f"\n{brackets[1]}")


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False)
