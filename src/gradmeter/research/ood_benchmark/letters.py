"""How well each letter is distinguished from digits."""

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


def letter_table(results: TaskResults) -> Iterator[str]:
    """Return a table with a row for each letter: mean AUROC of the judge, the softmax and the supervised network."""
    methods = {OURS: OURS, BASELINE: "softmax", f"{CEILING} {LETTERS}": "supervised"}
    methods = {method: name for method, name in methods.items() if results.has(method)}
    cases = (string.ascii_uppercase, string.ascii_lowercase)
    aurocs = {method: _by_letter(results, method) for method in methods}
    rows = []
    for number, (upper, lower) in enumerate(zip(*cases, strict=True)):
        row = []
        for letter, index in ((upper, number), (lower, number + len(cases[0]))):
            row += [letter, *(_cell(values[index]) for values in aurocs.values())]
        rows.append(row)
    yield from markdown_table(["", *methods.values()] * 2, rows)


def _by_letter(results: TaskResults, method: str) -> NDArray[np.float64]:
    """Return the AUROC of each letter, [52], averaged over the networks that scored it; NaN if no network did."""
    aurocs = np.full((len(results.runs), 2 * len(string.ascii_lowercase)), np.nan)
    letters_of_runs = results.scores(WHICH_LETTER)
    for row, scores, wrong, letters in zip(aurocs, results.scores(method), results.wrong, letters_of_runs, strict=True):
        shown, unknown = letters.values[LETTERS], scores.values[LETTERS]
        shown = (shown[HELD_OUT] if method.startswith(CEILING) else shown)[: len(unknown)]
        for letter in np.unique(shown).astype(int):
            row[letter] = separation(scores.values[KNOWN][~wrong], unknown[shown == letter]).auroc
    scored = np.isfinite(aurocs)
    return np.where(scored.any(axis=0), np.nansum(aurocs, axis=0) / scored.sum(axis=0).clip(1), np.nan)


def _cell(value: float) -> str:
    return f"{100 * value:.1f}" if np.isfinite(value) else ""
