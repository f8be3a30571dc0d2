"""The samples of each set that are judged most and least trustworthy, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from gradmeter.apps.workflows.evaluate import Evaluation
from gradmeter.apps.workflows.sets import ReadSet
from gradmeter.sources.samples import Unreadable

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Shown:
    """A sample and what was said of it.

    Attributes:
        id: of the sample.
        content: the image, or the text.
        prediction: name of the predicted class.
        label: name of the class, None for unknown inputs.
        p_correct: as judged.
    """

    id: str
    content: Image.Image | str
    prediction: str
    label: str | None
    p_correct: float


@dataclass(frozen=True)
class Extremes:
    """Of one set, the least trusted samples and the most trusted ones, the extreme ones first."""

    name: str
    least: tuple[Shown, ...]
    most: tuple[Shown, ...]


def extremes(evaluation: Evaluation, count: int) -> list[Extremes]:
    """At most `count` samples from either end of each set; sets whose samples are not at hand are left out."""
    found = []
    for data in evaluation.sets:
        if data.source is None:
            continue
        rows = np.flatnonzero(evaluation.rows["concept"].to_numpy() == data.name)
        order = rows[np.argsort(evaluation.rows["p_correct"].to_numpy()[rows], kind="stable")]
        ends = min(count, len(order) // 2)
        least, most = order[:ends], order[::-1][:ends]
        shown = _shown(evaluation, data, [*least.tolist(), *most.tolist()])
        found.append(
            Extremes(
                data.name,
                tuple(shown[row] for row in least if row in shown),
                tuple(shown[row] for row in most if row in shown),
            )
        )
    return found


def _shown(evaluation: Evaluation, data: ReadSet, rows: Sequence[int]) -> dict[int, Shown]:
    assert data.source is not None
    # Of a single sample there is neither end, and Arrow needs a type for no rows.
    records = evaluation.rows.take(pa.array(rows, pa.int64())).to_pylist()
    wanted = {record["id"]: (row, record) for row, record in zip(rows, records, strict=True)}
    found = {}
    for index in range(len(data.source)):
        if data.source.id(index) not in wanted:
            continue
        row, record = wanted[data.source.id(index)]
        try:
            content = data.source.read(index).content
        except Unreadable:  # it changed since it was measured
            continue
        label = None if record["label"] is None else evaluation.class_name(record["label"])
        prediction = evaluation.class_name(record["prediction"])
        found[row] = Shown(record["id"], content, prediction, label, record["p_correct"])
    return found
