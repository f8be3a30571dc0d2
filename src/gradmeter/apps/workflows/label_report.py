"""The report of `gradmeter labels`: the most suspicious labels with pictures, suggestions and neighbours."""

from __future__ import annotations

import datetime
from collections import Counter
from pathlib import Path

import numpy as np

from gradmeter.apps.workflows.label_cards import VISIBLE, cards_of
from gradmeter.apps.workflows.label_words import answer, estimate
from gradmeter.apps.workflows.labels import FIFTYONE, REPORT, CheckedLabels
from gradmeter.files import write_text
from gradmeter.names import encode_name, printable
from gradmeter.report.scripts import script
from gradmeter.report.templates import environment
from gradmeter.version import __version__

# Number of pairs of classes in the page.
_PAIRS = 15


def write_report(checked: CheckedLabels, command: str) -> Path:
    """Write report.html into the folder of the review, after its lists.

    Args:
        checked: the result.
        command: the command line, to show in the page.

    Raises:
        OutputError: if the folder cannot be written.
    """
    provenance = {
        "command": command,
        "made": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "model": printable(checked.model),
        "data": printable(checked.source.name),
        "reads": checked.reads,
        "table": encode_name(str(checked.out)),
        "gradmeter": __version__,
    }
    templates = environment("gradmeter.apps.workflows")
    count, doubtful = len(checked.verdicts), sum(checked.reasons.values())
    cards = cards_of(checked, getattr(templates.get_template("label_card.html.jinja").module, "card"))  # noqa: B009
    page = templates.get_template("label_report.html.jinja").render(
        version=__version__,
        checked=checked,
        count=count,
        rate=estimate(checked.rate, count),
        answer=answer(checked),
        notes=[printable(note) for note in checked.notes],
        cards=cards,
        visible=VISIBLE,
        doubtful=doubtful,
        fiftyone=(checked.folder / FIFTYONE).exists(),
        script=script("browser.js", "label_browser.js"),
        pairs=_pairs(checked),
        provenance=provenance,
        skipped=[(printable(sample.id), sample.reason) for sample in checked.skipped[:20]],
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
