"""Figures of the benchmark: bars of time / T0 on a logarithmic axis, and the cost per image."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from gradmeter.report.figures.style import COLOURS, INK, styled
from gradmeter.report.markdown import counted
from gradmeter.research.speed_benchmark.methods import METHODS
from gradmeter.research.speed_benchmark.models import MODELS
from gradmeter.research.speed_benchmark.results import Row, SpeedResults, Spread

_OURS = "gradmeter"
_COLOURS = {_OURS: COLOURS[0], "peer": "#b9c0ca", "plain": "#7d838c"}
_WARNING = COLOURS[1]
_ROW_INCHES = 0.29
_MIB = 2**20
_FAILURE_WIDTH = 28  # characters in a line
# The axis extends beyond the bars by these shares of its length, to make room for labels on the left and the right.
_LEFT, _RIGHT = 0.16, 0.14
# From this ratio between the ends of the axis on, ticks are powers of ten.
_WIDE = 300


def ratios(results: SpeedResults, name: str) -> Figure:
    """Draw one network: a panel for each number of threads, a bar or the kind of error for each method."""
    threads = results.options.threads
    panels = {counted(count, "thread"): results.rows(name, count) for count in threads}
    model = MODELS[name]
    return _bars(panels, f"{model.title}, batch of {model.batch:,}", model.target, len(panels))


def overview(results: SpeedResults, names: Sequence[str]) -> Figure:
    """Draw several networks with the smallest number of threads; without the plain passes."""
    threads = results.options.threads[0]
    panels = {
        f"{MODELS[name].title}, batch of {MODELS[name].batch:,}": [
            row for row in results.rows(name, threads) if METHODS[row.method].kind != "plain"
        ]
        for name in names
    }
    title = f"Time over one plain forward + backward pass (T0), {counted(threads, 'thread')}"
    return _bars(panels, title, None, min(2, len(panels)))


def cost_per_image(results: SpeedResults) -> Figure:
    """Draw microseconds per image and peak extra memory by number of images."""
    streams = {int(count): stream for count, stream in results.stream.items() if "error" not in stream}
    counts = list(streams)
    with styled():
        figure = Figure((7.2, 2.7), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(counts, [1e6 * streams[count]["seconds"] / count for count in counts], "o-", color=_COLOURS[_OURS])
        right.plot(counts, [streams[count]["memory"] / _MIB for count in counts], "o-", color=_COLOURS[_OURS])
        for axes, label in ((left, "microseconds per image"), (right, "peak extra memory (MiB)")):
            axes.set_xscale("log")
            axes.set_xticks(counts, [f"{count:,}" for count in counts])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set(xlabel="images", title=label)
            # Memory that was freed before may suffice, so that no extra memory is seen.
            axes.set_ylim(0, 1.35 * max(axes.lines[0].get_ydata()) or 1.0)
            axes.margins(x=0.1)
            axes.grid(visible=True, axis="y")
            for x, y in zip(*axes.lines[0].get_data(), strict=True):
                axes.annotate(f"{y:.3g}", (x, y), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    return figure


def _bars(panels: dict[str, list[Row]], title: str, target: float | None, wide: int) -> Figure:
    tall = -(-len(panels) // wide)
    rows = max(map(len, panels.values()))
    spreads = [row.ratio for panel in panels.values() for row in panel if row.ratio]
    low = min([0.5, *(spread.low for spread in spreads)])
    high = max([2.0, *(spread.high for spread in spreads)])
    limits = (low / (high / low) ** _LEFT, high * (high / low) ** _RIGHT)
    with styled():
        figure = Figure((2.0 + 3.3 * wide, tall * (0.65 + _ROW_INCHES * rows) + 0.35))
        figure.set_layout_engine("constrained", hspace=0.06)
        figure.suptitle(title, fontsize=10, fontweight="bold", color=INK, x=0.01, ha="left")
        grid = figure.subplots(tall, wide, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        for axes, (heading, panel) in zip(grid.flat, panels.items(), strict=False):
            axes.set_title(heading, loc="left")
            _frame(axes, panel, limits)
            for place, row in enumerate(panel):
                if row.ratio is None:
                    _failure(axes, place, row)
                else:
                    _bar(axes, place, row.method, row.ratio, target)
        for axes in grid[-1]:
            axes.set_xlabel("time / T0")
    return figure


def _frame(axes: Axes, rows: list[Row], limits: tuple[float, float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.xaxis.set_major_locator(LogLocator(10, (1.0, 2.0, 5.0) if limits[1] / limits[0] < _WIDE else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=True, axis="x")
    axes.axvline(1, color=INK, linewidth=0.9)
    axes.set_yticks(range(len(rows)), [METHODS[row.method].title for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="both", length=0)
    axes.spines["left"].set_visible(False)
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == METHODS[_OURS].title else "normal")


def _bar(axes: Axes, place: int, method: str, ratio: Spread, target: float | None) -> None:
    """Draw a bar that starts at T0, with the quartiles as a line and the target as a mark."""
    ours = method == _OURS
    axes.barh(place, ratio.median - 1, left=1, height=0.68, color=_COLOURS[METHODS[method].kind])
    axes.plot([ratio.low, ratio.high], [place, place], color=INK, linewidth=0.9)
    if ours and target is not None:
        axes.plot([target, target], [place - 0.42, place + 0.42], color=_WARNING, linewidth=1.8)
    left = ratio.median < 1
    axes.annotate(
        f"{ratio.median:.2f}" if ratio.median < 10 else f"{ratio.median:.0f}",
        (min(ratio.low, 1) if left else max(ratio.high, target or 1 if ours else 1), place),
        (-5 if left else 5, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        fontsize=8,
        fontweight="bold" if ours else "normal",
    )


def _failure(axes: Axes, place: int, row: Row) -> None:
    """Write the kind of error in the place of a bar; the page has the message."""
    axes.annotate(
        # A longer line would leave the panel.
        fill(f"fails: {(row.error or '').partition(':')[0]}", _FAILURE_WIDTH),
        (1, place),
        (5, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
        style="italic",
        color=_WARNING,
    )
