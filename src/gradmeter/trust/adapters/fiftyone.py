"""Verdicts in a file that FiftyOne imports, beside the images that they are about.

FiftyOne (Moore and Corso 2020, https://github.com/voxel51/fiftyone) reads the type FiftyOneImageClassificationDataset
from a JSON file: {"classes": [NAME, ...], "labels": {IMAGE: {"label": NAME, "confidence": NUMBER, "attributes": {}}}},
where IMAGE is the path of an image in the folder of images, without its extension. FiftyOne itself is not needed here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from gradmeter.errors import DataError, InputError
from gradmeter.files import write_text
from gradmeter.names import decode_name
from gradmeter.trust.meta_classifier import P_CORRECT, P_CORRECT_IF_KNOWN, P_KNOWN

ATTRIBUTES = ("probability", P_KNOWN, P_CORRECT_IF_KNOWN, "accepted", "reason", "concept", "correct")
"""Columns that become attributes of a label. P(correct) is its confidence, and a "label", the true class, its "truth".
"""

_REQUIRED = ("id", "prediction", P_CORRECT)
_USED = (*_REQUIRED, *ATTRIBUTES, "label")
_PROBABILITIES = ("probability", P_CORRECT, P_KNOWN, P_CORRECT_IF_KNOWN)


def write_labels(path: Path | str, verdicts: pa.Table, classes: Sequence[str] | None = None) -> int:
    """Write verdicts as labels for FiftyOne.

    Args:
        path: the JSON file to write; it is replaced.
        verdicts: a row for each image, with "id", its path in the folder of images, "prediction" and "p_correct", as
            `gradmeter judge` and `gradmeter evaluate` write them, or `TrustModel.verdicts` for readings of `gradmeter
            measure`. Of the other columns, `ATTRIBUTES` and "label" are used; nulls are left out.
        classes: names of the classes, if predictions are their numbers.

    Returns:
        The number of labels.

    Raises:
        DataError: if a column is missing or has other values, a number is not that of a class, or two images have the
            same path without extension, which FiftyOne cannot tell apart.
        InputError: if `verdicts` is not a table, or `classes` are no names.
        OutputError: if the file cannot be written.
    """
    if not isinstance(verdicts, pa.Table):
        raise InputError(f"verdicts are a {type(verdicts).__name__}; expected a pyarrow.Table")
    is_list = isinstance(classes, Sequence) and not isinstance(classes, str)
    if classes is not None and not (is_list and all(isinstance(name, str) for name in classes)):
        raise InputError(f"classes are {classes!r}; expected a list of names")
    if repeated := [name for name in _USED if verdicts.column_names.count(name) > 1]:
        raise DataError(f"the verdicts have two columns {repeated[0]}; expected one of each name")
    if missing := [name for name in _REQUIRED if name not in verdicts.column_names]:
        raise DataError(
            f"the verdicts have no column {', '.join(missing)}; expected those of gradmeter judge or evaluate, or of "
            "TrustModel.verdicts for readings with an id"
        )
    labels: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    for name, label in _labels(verdicts, classes):
        if not PurePosixPath(name).name:
            raise DataError(f"an image has the id {name!r}; expected the path of a file")
        key = image_key(name)
        if key in labels:
            raise DataError(
                f"the images {names[key]} and {name} have the same path without extension, by which FiftyOne knows "
                "them; rename one, or write the verdicts of different data sets to different files"
            )
        labels[key], names[key] = label, name
    content: dict[str, Any] = {} if classes is None else {"classes": list(classes)}
    write_text(Path(path), json.dumps({**content, "labels": labels}) + "\n")
    return len(labels)


def image_key(name: str) -> str:
    """Return the name by which FiftyOne knows the image with this id: its path without extension."""
    return str(PurePosixPath(decode_name(name)).with_suffix(""))


def _labels(verdicts: pa.Table, classes: Sequence[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the id of each image and its label."""
    columns = {*_USED} & {*verdicts.column_names}
    for row in verdicts.select(sorted(columns)).to_pylist():
        _require_values(row)
        attributes = {name: row[name] for name in ATTRIBUTES if row.get(name) is not None}
        if row.get("label") is not None:
            attributes["truth"] = _class_name(row["label"], classes)
        label = {
            "label": _class_name(row["prediction"], classes),
            "confidence": row[P_CORRECT],
            "attributes": attributes,
        }
        yield row["id"], label


def _require_values(row: Mapping[str, Any]) -> None:
    """Check the values of a row.

    Raises:
        DataError: if the id is no text, a probability not in [0, 1], or an attribute nothing that FiftyOne shows: NaN,
            for example, is no JSON.
    """
    if not isinstance(row["id"], str):
        raise DataError(f"an image has the id {row['id']!r}; expected the path of a file")
    for name in _PROBABILITIES:
        value = row.get(name)
        if value is None and name != P_CORRECT:
            continue
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise DataError(f"{name} of {row['id']!r} is {value!r}; expected a number from 0 to 1")
    for name in ATTRIBUTES:
        value = row.get(name)
        if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
            raise DataError(f"{name} of {row['id']!r} is {value!r}; expected text, a finite number, True or False")


def _class_name(value: Any, classes: Sequence[str] | None) -> str:
    """Return the name of a class, of which the table has the name or the number."""
    if isinstance(value, str):
        return value
    if not isinstance(value, int):
        raise DataError(f"a class is {value!r}; expected its name or its number")
    if classes is None:
        return str(value)
    if not 0 <= value < len(classes):
        raise DataError(f"class {value} in the verdicts, but {len(classes)} names; expected a name for each class")
    return classes[value]
