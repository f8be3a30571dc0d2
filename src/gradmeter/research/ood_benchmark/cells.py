"""The cells of the tables that compare methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradmeter.research.ood_benchmark.results import TaskResults

SEPARATION = ("auroc", "aupr_out")
"""Measures of separation, in the order in which a cell shows them."""


def separation_cells(results: TaskResults, methods: Sequence[str]) -> Callable[[str, str], str]:
    """Return a function from a method and a column to AUROC / AUPR-Out in percent; the best of the methods is bold."""
    best = {
        (column, measure): max(results.mean(method, column, measure).mean for method in methods)
        for column in results.columns
        for measure in SEPARATION
    }

    def cell(method: str, column: str) -> str:
        parts = []
        for measure in SEPARATION:
            value = results.mean(method, column, measure).mean
            text = f"{100 * value:.2f}"
            parts.append(f"**{text}**" if value >= best[column, measure] - 5e-7 else text)
        return " / ".join(parts)

    return cell
