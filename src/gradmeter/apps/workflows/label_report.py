"""The report of `gradmeter labels`: the most suspicious labels with pictures, suggestions and neighbours."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gradmeter.apps.workflows.exploration import excerpt
from gradmeter.apps.workflows.labels import CheckedLabels
from gradmeter.files import write_text
from gradmeter.names import encode_name, printable
from gradmeter.report.probabilities import compared, percent
from gradmeter.report.templates import REPORT, environment
from gradmeter.report.thumbnails import data_uri, thumbnail
from gradmeter.sources.samples import Unreadable
from gradmeter.sources.samples.array_kind import summary
from gradmeter.version import __version__

# Number of labels in the page, of neighbours of each, and of pairs of classes.
_SHOWN, _NEIGHBOURS, _PAIRS = 100, 4, 15
# Longer sides of the pictures in pixels.
_SIDE, _SMALL = 80, 40


@dataclass(frozen=True)
class Content:
    """A sample in the page.

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


def answer(checked: CheckedLabels) -> list[str]:
    """Return the result in sentences."""
    rate, count = checked.rate, len(checked.verdicts)
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in checked.reasons.items())
    judges = (
        "Judged out of fold, by new last layers on the network's embedding, which learned from these labels."
        if checked.learned
        else "Judged by the network as it is, which must not have been trained on these labels (else give --learned)."
    )
    lines = [
        f"About {percent(rate.value, 2)} % of {count:,} labels are wrong, 95 % interval {percent(rate.low, 2)} to "
        f"{percent(rate.high, 2)} %: {rate.value * count:,.0f} labels ({rate.low * count:,.0f} to "
        f"{rate.high * count:,.0f}).",
        f"Worth a look: {sum(checked.reasons.values()):,} labels ({reasons}).",
        judges,
    ]
    if checked.skipped:
        lines.append(f"Skipped {len(checked.skipped):,} samples that cannot be read or have no label.")
    return lines


def write_report(checked: CheckedLabels, command: str) -> Path:
    """Write report.html into the folder of the review.

    Args:
        checked: the result.
        command: the command line, to show in the page.

    Raises:
        OutputError: if the folder cannot be written.
    """
    rows = checked.ranked()[:_SHOWN]
    near = checked.verdicts.neighbours[rows][:, :_NEIGHBOURS]
    contents = _contents(checked, rows, near)
    records = checked.table.take(rows).to_pylist()
    cards = [
        {
            **{name: record[name] for name in ("rank", "reason")},
            "suggestion": printable(str(record["suggestion"])),
            "p_label": compared(record["p_label"]).removeprefix("="),
            "layers": [printable(layer) for layer in record["layers"][:3]],
            "sample": contents[int(row)],
            "neighbours": [contents[int(other)] for other in others if other >= 0],
        }
        for row, others, record in zip(rows, near, records, strict=True)
    ]
    provenance = {
        "command": command,
        "made": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "model": printable(checked.model),
        "data": printable(checked.source.name),
        "reads": checked.reads,
        "table": encode_name(str(checked.out)),
        "gradmeter": __version__,
    }
    page = (
        environment("gradmeter.apps.workflows")
        .get_template("label_report.html.jinja")
        .render(
            version=__version__,
            checked=checked,
            count=len(checked.verdicts),
            answer=answer(checked),
            notes=[printable(note) for note in checked.notes],
            cards=cards,
            doubtful=sum(checked.reasons.values()),
            pairs=_pairs(checked),
            provenance=provenance,
            skipped=[(printable(sample.id), sample.reason) for sample in checked.skipped[:20]],
        )
    )
    path = checked.folder / REPORT
    write_text(path, page)
    return path


def _pairs(checked: CheckedLabels) -> list[tuple[str, str, int]]:
    """Return the most frequent pairs of a doubtful label and its suggestion."""
    rows = checked.ranked()
    labels, suggestions = np.asarray(checked.read.inputs.labels)[rows], checked.verdicts.suggestion[rows]
    counts = Counter(zip(labels.tolist(), suggestions.tolist(), strict=True))
    return [
        (printable(checked.class_name(label)), printable(checked.class_name(suggestion)), number)
        for (label, suggestion), number in counts.most_common(_PAIRS)
    ]


def _contents(checked: CheckedLabels, rows: np.ndarray, near: np.ndarray) -> Mapping[int, Content]:
    """Return the samples of the page by row; those that can no longer be read have neither picture nor text."""
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
        contents[row] = Content(printable(checked.read.ids[row]), printable(label), picture, text)
    return contents
