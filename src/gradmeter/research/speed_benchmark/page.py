"""performance.md: the results of the benchmark, how they were measured, and the command that measured them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gradmeter.files import write_text
from gradmeter.report.figures.saving import save
from gradmeter.report.markdown import counted, markdown_table
from gradmeter.research.speed_benchmark import plots, verdicts
from gradmeter.research.speed_benchmark.machine import counted_cores
from gradmeter.research.speed_benchmark.methods import METHODS
from gradmeter.research.speed_benchmark.models import MAIN_MODELS, MODELS
from gradmeter.research.speed_benchmark.results import Row, SpeedResults, Spread
from gradmeter.research.speed_benchmark.verdicts import VerdictRow

PAGE = "performance.md"
MEMORY_LIMIT = 1.2
"""The largest ratio of the meter's peak memory to T0's."""

_MIB = 2**20
_ESCAPED = str.maketrans({character: f"\\{character}" for character in "\\|*_`<>[]"})
_NONE = "-"
_COLUMNS = ("method", "delivers", "seconds", "time / T0", "quartiles", "memory", "memory / T0", "error of l2", "rounds")


def write_page(results: SpeedResults, folder: Path) -> Path:
    """Write performance.md and its figures, as SVG and PNG, into a folder; return the path of the page."""
    options = results.options
    for name in options.models:
        save(plots.ratios(results, name), folder / "figures" / _figure(name))
    if main := [name for name in MAIN_MODELS if name in options.models]:
        save(plots.overview(results, main), folder / "figures" / _figure("overview"))
    if _streamed(results):
        save(plots.cost_per_image(results), folder / "figures" / _figure("stream"))
    path = folder / PAGE
    write_text(path, "\n".join(_lines(results)) + "\n")
    return path


def _lines(results: SpeedResults) -> Iterator[str]:
    content, machine = results.content, results.content["machine"]
    yield from ("# Performance", "")
    yield (
        "The cost of all eight statistics of every layer for every sample of a batch, compared with one plain forward "
        "and backward pass over the same batch (T0 = 1) and with other ways to compute them."
    )
    yield from ("", "```sh", content["command"], "```", "")
    yield f"- Measured on {content['finished']} with gradmeter {content['gradmeter']}; {_versions(results)}."
    yield (
        f"- Machine: {machine['processor']}, {counted_cores(machine)}, {machine['memory']} GiB of memory, "
        f"{machine['system']}. Kernel: {machine['kernel']}."
    )
    if "gradmeter" in results.options.methods:
        yield from ("", "## At a glance", "")
        yield from _summary(results)
    for name in results.options.models:
        yield from ("", f"## {MODELS[name].title}", "")
        yield from _section(results, name)
    if verdicts.were_measured(results):
        yield from ("", "## What a verdict costs", "")
        yield from _verdicts(results)
    if _streamed(results):
        yield from ("", "## Many images", "")
        yield from _stream(results)
    yield from ("", "## How it was measured", "")
    yield from _method(results)


def _summary(results: SpeedResults) -> Iterator[str]:
    threads = results.options.threads
    head = ["network", "batch", *(f"time / T0, {counted(count, 'thread')}" for count in threads)]
    head += ["target", "stretch target", f"memory / T0 (target: {MEMORY_LIMIT})", "error of l2"]
    rows = []
    for name in results.options.models:
        model = MODELS[name]
        measured = [row for count in threads if (row := results.row(name, count, "gradmeter")) is not None]
        assert len(measured) == len(threads)
        cells = [model.title, f"{model.batch:,}"]
        cells += [_judge_ratio(row.ratio, model.target) for row in measured]
        cells += [_number(model.target), _number(model.stretch_target)]
        cells += [_judge_number(measured[0].memory_ratio, MEMORY_LIMIT), _error(measured[0].disagreement)]
        rows.append(cells)
    yield from markdown_table(head, rows)
    yield from (
        "",
        "Bold: target reached. Error of l2: the largest relative difference, over the samples, between the Euclidean "
        "norm of the whole gradient and the norm from a separate float64 backward pass.",
    )


def _section(results: SpeedResults, name: str) -> Iterator[str]:
    model = MODELS[name]
    yield f"![Time of each method divided by the time of one plain pass](figures/{_figure(name)}.svg)"
    for threads in results.options.threads:
        yield from ("", f"**{counted(threads, 'thread')}, batch of {model.batch:,}**", "")
        rows = results.rows(name, threads)
        yield from markdown_table(_COLUMNS, [_cells(row) for row in rows], texts=2)
        if model.target is not None:
            stretch = "" if model.stretch_target is None else f"; stretch target: {model.stretch_target:g}"
            yield from ("", f"Target for gradmeter's time / T0 (the mark in the figure): {model.target:g}{stretch}.")
        best = results.ratio(name, threads, "gradmeter", "best-plain")
        if best is not None:
            target = "" if model.best_plain_target is None else f"; target: {model.best_plain_target:g}"
            yield from ("", f"gradmeter / best T0: {best.median:.2f} (quartiles {_quartiles(best)}){target}.")
        notes = [f"{METHODS[row.method].title}: {row.note}" for row in rows if row.note and row.error is None]
        if notes:
            yield from ("", f"{_text('; '.join(notes))}.")
        for row in rows:
            if row.error is not None:
                yield from ("", f"{METHODS[row.method].title} fails: {_text(row.error)}")


def _cells(row: Row) -> list[str]:
    method = METHODS[row.method]
    title = f"**{method.title}**" if method.kind == "gradmeter" else method.title
    if row.error is not None:
        return [title, method.delivers, "fails", *[_NONE] * 6]
    memory = _NONE if row.memory is None else f"{row.memory / _MIB:,.0f} MiB"
    return [
        title,
        method.delivers,
        _NONE if row.seconds is None else f"{row.seconds:.3g}",
        _NONE if row.ratio is None else f"{row.ratio.median:.2f}",
        _NONE if row.ratio is None or row.rounds == 1 else _quartiles(row.ratio),
        memory,
        _NONE if row.memory_ratio is None else f"{row.memory_ratio:.2f}",
        _error(row.disagreement),
        str(row.rounds),
    ]


def _verdicts(results: SpeedResults) -> Iterator[str]:
    yield (
        "The cost of a verdict (P(correct) of a prediction) and of its steps, "
        f"{counted(verdicts.THREADS, 'thread')}. Milliseconds are medians over "
        f"{counted(results.options.repeats, 'round')} in which the steps take turns; short steps are called several "
        "times per round and averaged. A ratio is the median of the ratios to the forward pass of the same round. The "
        "meter of a `TrustModel` reads two pseudo-labels, `predicted` and `uniform`, and features of the forward pass. "
        f"The `TrustModel` is fitted to {verdicts.KNOWN_INPUTS:,} random inputs and to synthetic unknowns "
        "made from them."
    )
    yield from _targets(results)
    for name in verdicts.timed_networks(results.options):
        head = ["step"]
        for batch in verdicts.BATCHES[name]:
            head += [f"batch of {batch}: ms", "/ forward"]
        columns = {batch: verdicts.verdict_rows(results, name, batch) for batch in verdicts.BATCHES[name]}
        rows = [
            [step.title, *(cell for column in columns.values() for cell in _verdict_cells(column[key]))]
            for key, step in verdicts.STEPS.items()
        ]
        yield from ("", f"**{MODELS[name].title}**", "")
        yield from markdown_table(head, rows)
        for batch, column in columns.items():
            for key, row in column.items():
                if row.error is not None:
                    yield from ("", f"{verdicts.STEPS[key].title}, batch of {batch}, fails: {_text(row.error)}")


def _targets(results: SpeedResults) -> Iterator[str]:
    yield from ("", "The targets, and what was reached:", "")
    rows = [
        [
            MODELS[target.name].title,
            f"{verdicts.STEPS[target.step].title} / {verdicts.STEPS[target.reference].title}",
            str(target.batch),
            f"{target.largest:g}",
            _NONE if target.ratio is None else f"{target.ratio:.2f}",
            _NONE if target.ratio is None else "met" if target.ratio <= target.largest else "**missed**",
        ]
        for target in verdicts.targets(results)
    ]
    yield from markdown_table(["network", "ratio", "batch", "at most", "reached", ""], rows, texts=2)


def _verdict_cells(row: VerdictRow) -> tuple[str, str]:
    if row.milliseconds is None:
        return "fails", _NONE
    milliseconds = f"{row.milliseconds:.3g}" if row.milliseconds < 1000 else f"{row.milliseconds:,.0f}"
    return milliseconds, _NONE if row.ratio is None else f"{row.ratio:.2f}"


def _stream(results: SpeedResults) -> Iterator[str]:
    model = MODELS["paper-cnn"]
    yield (
        f"The paper's network, {counted(results.options.threads[0], 'thread')}: images are generated in batches of "
        f"{model.batch:,}, measured and discarded. The time to generate them is not included."
    )
    yield from ("", f"![Cost per image and peak memory by number of images](figures/{_figure('stream')}.svg)", "")
    rows = []
    for count, stream in results.stream.items():
        if "error" in stream:
            cells = [_text(stream["error"]), _NONE, _NONE]
        else:
            cost = 1e6 * stream["seconds"] / int(count)
            cells = [f"{stream['seconds']:.3g}", f"{cost:.1f}", f"{stream['memory'] / _MIB:,.0f} MiB"]
        rows.append([f"{int(count):,}", *cells])
    yield from markdown_table(["images", "seconds", "microseconds per image", "peak extra memory"], rows)


def _method(results: SpeedResults) -> Iterator[str]:
    options = results.options
    yield (
        "- T0 is what a user would call: `model.zero_grad()`, a batched forward pass, the summed cross entropy at the "
        "predicted class, `backward()`. Best T0 does the same in tiles; the tile size and the memory order are the "
        "fastest ones in two trials of each."
    )
    yield (
        "- Networks have random weights from a fixed seed and run in eval mode with float32. BatchNorm uses the "
        "statistics of one batch; zero-initialised scales are set to one."
    )
    yield (
        f"- All methods take turns in one process, in {counted(options.repeats, 'round')}; each round starts with a "
        "different method. Before each timed run, freed memory is returned to the system and the method runs once "
        "untimed, so that no method is slowed down by memory that another one left fragmented. Times are medians; "
        "a ratio is the median of the ratios to T0 of the same round, with quartiles. A peer whose rounds would take "
        f"longer than {options.cap:g} s gets fewer rounds; with a single round, its untimed runs are omitted."
    )
    yield (
        f"- Memory: each method runs in a new process, {counted(options.threads[0], 'thread')}: one sample, so that "
        "code is loaded; then gradients are cleared and freed memory is returned to the system; then two calls with "
        "the whole batch. The figure is the peak resident memory during these two calls minus the resident memory "
        "before them, so it includes gradients, activations, results and memory that the allocator keeps."
    )
    yield (
        "- For packages that deliver per-sample gradients, the eight statistics are computed in PyTorch, float32, one "
        "pass each. In-place activations are replaced by out-of-place ones, Opacus has all layers that own parameters "
        "in train mode, and BackPACK's converter is used where it works. The two methods of pytorch-ood use other "
        "losses."
    )


def _versions(results: SpeedResults) -> str:
    return ", ".join(f"{name} {version}" for name, version in results.content["versions"].items())


def _streamed(results: SpeedResults) -> bool:
    return any("error" not in stream for stream in results.stream.values())


def _figure(name: str) -> str:
    return f"performance-{name}"


def _judge_ratio(ratio: Spread | None, limit: float | None) -> str:
    return _judge_number(None if ratio is None else ratio.median, limit)


def _judge_number(value: float | None, limit: float | None) -> str:
    if value is None:
        return "fails"
    text = f"{value:.2f}"
    return f"**{text}**" if limit is not None and value <= limit else text


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:g}"


def _quartiles(spread: Spread) -> str:
    return f"{spread.low:.2f} to {spread.high:.2f}"


def _error(disagreement: float | None) -> str:
    return _NONE if disagreement is None else f"{disagreement:.0e}"


def _text(text: str) -> str:
    return text.translate(_ESCAPED)
