"""Figures of the benchmark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from gradmeter.report.figures.style import COLOURS, RULE, styled
from gradmeter.research.ood_benchmark.results import ALL, TaskResults, column_name
from gradmeter.research.ood_benchmark.run import OURS, WRONG

_INCHES = 7.0
_ROW = 0.42
# Smaller gaps are drawn here, since a logarithmic axis has no 0.
_LEAST = 1e-5
# An axis whose ends have a smaller ratio gets more labels than the powers of ten.
_NARROW = 50


def best_beside_ours(results: TaskResults) -> Figure:
    """Draw 100 - AUROC of every method, with a row for each column of the tables."""
    with styled():
        figure = Figure((_INCHES, 1.0 + _ROW * len(results.columns)), layout="constrained")
        axes = figure.add_subplot()
        for row, column in enumerate(results.columns):
            others = {name: _gap(results, name, column) for name in results.detectors}
            axes.plot(list(others.values()), [row] * len(others), "o", color=RULE, markersize=4, alpha=0.8)
            best = min(others, key=lambda name: others[name])
            axes.annotate(best, (others[best], row), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=7)
            axes.plot(_gap(results, OURS, column), row, "D", color=COLOURS[0], markersize=6)
        axes.plot([], [], "D", color=COLOURS[0], label=OURS)
        axes.plot([], [], "o", color=RULE, label="detectors, the best one named")
        _logarithmic(axes, narrow=False)
        axes.set_xlim(left=_LEAST / 4)
        axes.set_yticks(range(len(results.columns)), map(column_name, results.columns))
        axes.invert_yaxis()
        axes.set_xlabel("100 - AUROC in percent, mean over networks (logarithmic; left is better)")
        axes.grid(visible=True, axis="x")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def control_bars(results: TaskResults, controls: Sequence[str]) -> Figure:
    """Draw 100 - AUROC of the default judge and its controls for wrong predictions, near concepts and all concepts."""
    names = [OURS, *(name for name in controls if results.has(name))]
    columns = [WRONG, *results.task.near, ALL]
    with styled():
        figure = Figure((_INCHES, 1.0 + 0.2 * len(names)), layout="constrained")
        panels = figure.subplots(1, len(columns), sharey=True)
        for axes, column in zip(np.atleast_1d(panels), columns, strict=True):
            gaps = [_gap(results, name, column) for name in names]
            axes.plot(gaps, range(len(names)), "o", color=RULE, markersize=4)
            axes.plot(gaps[0], 0, "D", color=COLOURS[0], markersize=6)
            axes.axvline(gaps[0], color=COLOURS[0], linewidth=0.8)
            _logarithmic(axes, narrow=max(gaps) < _NARROW * min(gaps))
            axes.set_title(column_name(column))
            axes.grid(visible=True, axis="x")
        first = np.atleast_1d(panels)[0]
        first.set_yticks(range(len(names)), names, fontsize=7)
        first.invert_yaxis()
        figure.supxlabel("100 - AUROC in percent, mean over networks (logarithmic; left is better)", fontsize=9)
    return figure


def _logarithmic(axes: Axes, *, narrow: bool) -> None:
    """Set a logarithmic axis in percent; matplotlib's default labels between powers of ten would overlap."""
    axes.set_xscale("log")
    steps = (1, 2, 3, 5) if narrow else (1,)
    axes.xaxis.set_major_locator(FixedLocator([step * 10.0**power for power in range(-7, 1) for step in steps]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _gap(results: TaskResults, method: str, column: str) -> float:
    return max(_LEAST, 1 - results.mean(method, column, "auroc").mean)
