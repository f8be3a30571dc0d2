"""Which letters are told from digits: o and O, l and I can hardly be."""

from __future__ import annotations

import string
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gradmeter.report.markdown import markdown_table
from gradmeter.research.ood_benchmark.ceiling import CEILING, HELD_OUT
from gradmeter.research.ood_benchmark.results import BASELINE, TaskResults
from gradmeter.research.ood_benchmark.run import OURS, WHICH_LETTER
from gradmeter.research.ood_benchmark.scores import KNOWN
from gradmeter.research.ood_benchmark.tasks import LETTERS
from gradmeter.trust.evaluation.separation import separation


def letter_table(found: TaskResults) -> Iterator[str]:
    """A row for each letter: AUROC of the judge, the softmax and the supervised network, mean over networks."""
    methods = {OURS: OURS, BASELINE: "softmax", f"{CEILING} {LETTERS}": "supervised"}
    methods = {method: name for method, name in methods.items() if found.has(method)}
    cases = (string.ascii_uppercase, string.ascii_lowercase)
    quality = {method: _by_letter(found, method) for method in methods}
    rows = []
    for number, (upper, lower) in enumerate(zip(*cases, strict=True)):
        row = []
        for letter, place in ((upper, number), (lower, number + len(cases[0]))):
            row += [letter, *(_cell(values[place]) for values in quality.values())]
        rows.append(row)
    yield from markdown_table(["", *methods.values()] * 2, rows)


def _by_letter(found: TaskResults, method: str) -> NDArray[np.float64]:
    """[52] AUROC of right predictions against each letter, mean over the networks that met it; NaN where none did."""
    values = np.full((len(found.runs), 2 * len(string.ascii_lowercase)), np.nan)
    which = found.scores(WHICH_LETTER)
    for row, scores, wrong, letters in zip(values, found.scores(method), found.wrong, which, strict=True):
        shown, judged = letters.values[LETTERS], scores.values[LETTERS]
        shown = (shown[HELD_OUT] if method.startswith(CEILING) else shown)[: len(judged)]
        for letter in np.unique(shown).astype(int):
            row[letter] = separation(scores.values[KNOWN][~wrong], judged[shown == letter]).auroc
    met = np.isfinite(values)
    return np.where(met.any(axis=0), np.nansum(values, axis=0) / met.sum(axis=0).clip(1), np.nan)


def _cell(value: float) -> str:
    return f"{100 * value:.1f}" if np.isfinite(value) else ""
