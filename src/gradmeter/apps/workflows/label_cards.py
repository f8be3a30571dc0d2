"""The cards of doubtful labels in the report of `gradmeter labels`, as many as keep the page small."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from gradmeter.apps.workflows.exploration import excerpt
from gradmeter.apps.workflows.labels import CheckedLabels
from gradmeter.names import printable
from gradmeter.report.exploration import in_turn
from gradmeter.report.probabilities import compared
from gradmeter.report.thumbnails import data_uri, thumbnail
from gradmeter.sources.samples import Unreadable
from gradmeter.sources.samples.array_kind import summary
from gradmeter.trust.labels.reasons import REASONS

VISIBLE = 100
"""Number of cards that the page shows at first, the most suspicious labels."""

# Largest number of cards, and of bytes of all of them.
_MOST, _BYTES = 400, 2_700_000
# Neighbours with a picture, and layers that are named, on each card.
_NEIGHBOURS, _LAYERS = 4, 3
# Longer sides of the pictures in pixels.
_SIDE, _SMALL = 80, 40
# Cards that are made together; the pictures of no more are in memory.
_TOGETHER = 50
_DIGITS = 6

Draw = Callable[[dict[str, Any]], Markup]
"""Returns the HTML of a card."""


@dataclass(frozen=True)
class Content:
    """A sample on a card.

    Attributes:
        id: its id.
        label: its given label.
        picture: address of its picture; None for a text or if it cannot be read.
        text: the start of its text; None for an image.
    """

    id: str
    label: str
    picture: str | None
    text: str | None


def cards_of(checked: CheckedLabels, draw: Draw) -> list[Markup]:
    """Return cards of doubtful labels, the most suspicious first.

    Of many, these are the most suspicious ones in all and of each reason.

    Args:
        checked: the result of the check.
        draw: makes the HTML of a card.
    """
    order = np.fromiter(_by_interest(checked), np.int64)[:_MOST]
    cards: list[tuple[int, Markup]] = []
    size = 0
    for start in range(0, len(order), _TOGETHER):
        rows = order[start : start + _TOGETHER]
        for row, facts in zip(rows.tolist(), _facts(checked, rows), strict=True):
            card = draw({**facts, "hidden": len(cards) >= VISIBLE})
            size += len(card.encode())
            if size <= _BYTES:
                cards.append((int(checked.verdicts.rank[row]), card))
        if size > _BYTES:
            break
    return [card for _, card in sorted(cards)]


def _by_interest(checked: CheckedLabels) -> Iterator[int]:
    """Yield the rows of doubtful labels: the first `VISIBLE` by rank, then of all and of each reason in turn."""
    rows = checked.ranked()
    rest = rows[VISIBLE:]
    yield from rows[:VISIBLE].tolist()
    yield from in_turn([rest, *(rest[checked.verdicts.reason[rest] == reason] for reason in REASONS)])


def _facts(checked: CheckedLabels, rows: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    """Yield what a card says, for some rows."""
    near = checked.verdicts.neighbours[rows]
    contents = _contents(checked, rows, near[:, :_NEIGHBOURS])
    labels = np.asarray(checked.read.inputs.labels)
    for row, others, record in zip(rows.tolist(), near, checked.table.take(rows).to_pylist(), strict=True):
        given = labels[others[others >= 0]]
        yield {
            "rank": f"{record['rank']:,}",
            "reason": record["reason"],
            "p": f"{record['p_label']:.{_DIGITS}g}",
            "p_label": compared(record["p_label"]).removeprefix("="),
            "suggestion": printable(str(record["suggestion"])),
            "layers": list(map(printable, record["layers"][:_LAYERS])),
            "sample": contents[row],
            "neighbours": [contents[other] for other in others[:_NEIGHBOURS].tolist() if other >= 0],
            "near": len(given),
            "near_label": int((given == labels[row]).sum()),
            "near_suggestion": int((given == checked.verdicts.suggestion[row]).sum()),
        }


def _contents(checked: CheckedLabels, rows: NDArray[np.int64], near: NDArray[np.int32]) -> dict[int, Content]:
    """Return the samples of some cards by row; those that can no longer be read have neither picture nor text."""
    large = set(rows.tolist())
    contents = {}
    for row in sorted(large | {other for other in near.ravel().tolist() if other >= 0}):
        picture = text = None
        try:
            content = checked.source.read(int(checked.read.indices[row])).content
            if isinstance(content, Image.Image):
                picture = data_uri(thumbnail(content, _SIDE if row in large else _SMALL))
            else:
                text = excerpt(summary(content) if isinstance(content, dict) else content)
        except Unreadable:  # it has changed since it was read
            pass
        label = checked.class_name(int(checked.read.inputs.labels[row]))
        contents[row] = Content(printable(checked.read.ids[row].as_py()), printable(label), picture, text)
    return contents
