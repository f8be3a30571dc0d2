"""The most and the least trusted samples of each data set, for the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from gradmeter.apps.workflows.evaluate import Evaluation
from gradmeter.apps.workflows.sets import ReadSet
from gradmeter.apps.workflows.wording import SCORE_NAMES
from gradmeter.sources.samples import Unreadable
from gradmeter.sources.samples.array_kind import summary

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Example:
    """A judged sample.

    Attributes:
        id: identifier of the sample.
        content: the image, the text, or the first numbers of the arrays.
        prediction: name of the predicted class.
        label: name of the true class; None for unknown inputs.
        scores: the probabilities of the verdict that the meta classifier gives.
        accepted: whether the prediction is accepted; None without a guarantee.
        reason: why it is not; None for accepted predictions and without a guarantee.
    """

    id: str
    content: Image.Image | str
    prediction: str
    label: str | None
    scores: dict[str, float]
    accepted: bool | None
    reason: str | None


@dataclass(frozen=True)
class Extremes:
    """The least and the most trusted samples of a data set, the most extreme first."""

    name: str
    least: tuple[Example, ...]
    most: tuple[Example, ...]


def extremes(evaluation: Evaluation, count: int) -> list[Extremes]:
    """Return at most `count` of the least and of the most trusted samples of each data set.

    Sets whose samples are not available are left out.
    """
    result = []
    for data in evaluation.sets:
        if data.source is None:
            continue
        rows = np.flatnonzero(evaluation.rows["concept"].to_numpy() == data.name)
        order = rows[np.argsort(evaluation.rows["p_correct"].to_numpy()[rows], kind="stable")]
        length = min(count, len(order) // 2)
        least, most = order[:length], order[::-1][:length]
        examples = dict(read_examples(evaluation, data, [*least.tolist(), *most.tolist()]))
        result.append(
            Extremes(
                data.name,
                tuple(examples[row] for row in least if row in examples),
                tuple(examples[row] for row in most if row in examples),
            )
        )
    return result


def read_examples(evaluation: Evaluation, data: ReadSet, rows: Sequence[int]) -> Iterator[tuple[int, Example]]:
    """Yield some rows and their samples, in the order of the data; samples that can no longer be read are left out."""
    assert data.source is not None
    # `rows` is empty for a set with a single sample, and Arrow cannot infer the type of an empty list.
    records = evaluation.rows.take(pa.array(rows, pa.int64())).to_pylist()
    wanted = {record["id"]: (row, record) for row, record in zip(rows, records, strict=True)}
    for index in range(len(data.source)):
        if data.source.id(index) not in wanted:
            continue
        row, record = wanted[data.source.id(index)]
        try:
            content = data.source.read(index).content
        except Unreadable:  # it has changed since it was measured
            continue
        yield (
            row,
            Example(
                record["id"],
                summary(content) if isinstance(content, dict) else content,
                evaluation.class_name(record["prediction"]),
                None if record["label"] is None else evaluation.class_name(record["label"]),
                {score: record[score] for score in SCORE_NAMES if record[score] is not None},
                record["accepted"],
                record["reason"],
            ),
        )
