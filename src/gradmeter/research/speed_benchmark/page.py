"""performance.md: what the benchmark found, how it was measured, and the command that made it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gradmeter.files import write_text
from gradmeter.report.figures.saving import save
from gradmeter.report.markdown import markdown_table
from gradmeter.research.speed_benchmark import plots, verdicts
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
_HEAD = ("method", "tells", "seconds", "time / T0", "quartiles", "memory", "memory / T0", "error of l2", "rounds")


def write_page(results: SpeedResults, folder: Path) -> Path:
    """Write performance.md and figures/*.svg and .png into the folder of finished results."""
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


def threads_named(count: int) -> str:
    """Return "1 thread", "2 threads"."""
    return f"{count} thread{'' if count == 1 else 's'}"


def _lines(results: SpeedResults) -> Iterator[str]:
    content, machine = results.content, results.content["machine"]
    yield from ("# Performance", "")
    yield (
        "What all eight statistics of every layer cost, for every sample of a batch, beside one plain forward and "
        "backward pass over the same batch (T0 = 1), and beside other ways to them."
    )
    yield from ("", "```sh", content["command"], "```", "")
    yield f"- Made on {content['finished']} with gradmeter {content['gradmeter']}; {_versions(results)}."
    yield (
        f"- Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory']} GiB of memory, "
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
    head = ["network", "batch", *(f"time / T0, {threads_named(count)}" for count in threads)]
    head += ["must", "stretch", f"memory / T0 (must: {MEMORY_LIMIT})", "error of l2"]
    rows = []
    for name in results.options.models:
        model = MODELS[name]
        found = [results.row(name, count, "gradmeter") for count in threads]
        assert all(found)
        mine = [row for row in found if row is not None]
        cells = [model.title, f"{model.batch:,}"]
        cells += [_judged(row.ratio, model.must) for row in mine]
        cells += [_plain(model.must), _plain(model.stretch)]
        cells += [_judged_number(mine[0].memory_ratio, MEMORY_LIMIT), _error(mine[0].disagreement)]
        rows.append(cells)
    yield from markdown_table(head, rows)
    yield from (
        "",
        "Bold: reached. Error of l2: the largest relative difference of a sample's Euclidean norm of the whole "
        "gradient to that of one float64 backward pass for each sample.",
    )


def _section(results: SpeedResults, name: str) -> Iterator[str]:
    model = MODELS[name]
    yield f"![Time of each method over that of one plain pass](figures/{_figure(name)}.svg)"
    for threads in results.options.threads:
        yield from ("", f"**{threads_named(threads)}, batch of {model.batch:,}**", "")
        rows = results.rows(name, threads)
        yield from markdown_table(_HEAD, [_cells(row) for row in rows], texts=2)
        if model.must is not None:
            stretch = "" if model.stretch is None else f", hoped for: {model.stretch:g}"
            yield from ("", f"gradmeter's time / T0 must be at most {model.must:g} (the mark in the figure){stretch}.")
        best = results.ratio(name, threads, "gradmeter", "best-plain")
        if best is not None:
            limit = "" if model.best is None else f"; at most {model.best:g} is asked for"
            yield from ("", f"gradmeter over the best T0: {best.median:.2f} ({_quartiles(best)}){limit}.")
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
        f"The steps of a verdict, P(correct) of a prediction, with {threads_named(verdicts.THREADS)}. Milliseconds are "
        f"medians over {results.options.repeats} rounds in which the steps take turns; a ratio is the median of the "
        "ratios to the forward pass of the same round. The meter of a `TrustModel` reads two pseudo-labels, "
        "`predicted` and `uniform`, and features of the forward pass. The `TrustModel` is fitted to "
        f"{verdicts.KNOWN_INPUTS:,} random inputs and to synthetic unknowns made from them."
    )
    head = ["step"]
    for batch in verdicts.BATCHES:
        head += [f"batch of {batch}: ms", "/ forward"]
    for name in verdicts.timed_networks(results.options):
        columns = {batch: verdicts.verdict_rows(results, name, batch) for batch in verdicts.BATCHES}
        rows = [
            [step.title, *(cell for column in columns.values() for cell in _verdict_cells(column.get(key)))]
            for key, step in verdicts.STEPS.items()
        ]
        yield from ("", f"**{MODELS[name].title}**", "")
        yield from markdown_table(head, rows)
        for batch, column in columns.items():
            for key, row in column.items():
                if row.error is not None:
                    yield from ("", f"{verdicts.STEPS[key].title}, batch of {batch}, fails: {_text(row.error)}")


def _verdict_cells(row: VerdictRow | None) -> tuple[str, str]:
    if row is None or row.milliseconds is None:
        return (_NONE if row is None else "fails"), _NONE
    return f"{row.milliseconds:.3g}", _NONE if row.ratio is None else f"{row.ratio:.2f}"


def _stream(results: SpeedResults) -> Iterator[str]:
    model = MODELS["paper-cnn"]
    yield (
        f"The paper's network, {threads_named(results.options.threads[0])}: images are made in batches of "
        f"{model.batch:,}, measured and dropped. Making them does not count."
    )
    yield from ("", f"![Cost per image and peak memory over the number of images](figures/{_figure('stream')}.svg)", "")
    rows = []
    for count, found in results.stream.items():
        if "error" in found:
            rows.append([f"{int(count):,}", _text(found["error"]), _NONE, _NONE])
        else:
            cost = 1e6 * found["seconds"] / int(count)
            rows.append(
                [f"{int(count):,}", f"{found['seconds']:.3g}", f"{cost:.1f}", f"{found['memory'] / _MIB:,.0f} MiB"]
            )
    yield from markdown_table(["images", "seconds", "microseconds per image", "peak extra memory"], rows)


def _method(results: SpeedResults) -> Iterator[str]:
    options = results.options
    yield (
        "- T0 is what a user would call: `model.zero_grad()`, a batched forward pass, the summed cross entropy at the "
        "predicted class, `backward()`. Best T0 is the fastest of the same in tiles of several sizes, in both memory "
        "orders, tried twice each."
    )
    yield (
        "- Networks have random weights from a fixed seed, BatchNorm the statistics of one batch, zero-initialised "
        "scales are set to one; eval mode, float32."
    )
    yield (
        f"- All methods take turns in one process, in {options.repeats} rounds that start with another method each. "
        "Before each run that counts, what others left of the heap goes back to the system and one run is not counted, "
        "so that no method works in another's leavings. Times are medians; a ratio is the median of the ratios to T0 "
        f"of the same round, with quartiles. A peer whose rounds would take longer than {options.cap:g} s takes part "
        "in fewer; one that gets a single round is spared the runs that do not count."
    )
    yield (
        f"- Memory: each method in a fresh process, {threads_named(options.threads[0])}. One sample first, so that "
        "code is loaded; gradients are cleared and freed blocks given back to the system; then two calls with the "
        "whole batch. Counted is the kernel's high-water mark of resident memory above what was resident before, so "
        "gradients, activations, results and what the allocator keeps all count."
    )
    yield (
        "- Packages that deliver per-sample gradients are followed by the eight statistics in PyTorch, float32, one "
        "pass each. Their activations are set to not overwrite their inputs, Opacus is in train mode for all layers "
        'that own parameters, BackPACK\'s converter is used where it works. "tells" says what a method delivers; '
        "the two of pytorch-ood read other losses."
    )


def _versions(results: SpeedResults) -> str:
    return ", ".join(f"{name} {version}" for name, version in results.content["versions"].items())


def _streamed(results: SpeedResults) -> bool:
    return any("error" not in found for found in results.stream.values())


def _figure(name: str) -> str:
    return f"performance-{name}"


def _judged(ratio: Spread | None, limit: float | None) -> str:
    return _judged_number(None if ratio is None else ratio.median, limit)


def _judged_number(value: float | None, limit: float | None) -> str:
    if value is None:
        return "fails"
    text = f"{value:.2f}"
    return f"**{text}**" if limit is not None and value <= limit else text


def _plain(value: float | None) -> str:
    return _NONE if value is None else f"{value:g}"


def _quartiles(spread: Spread) -> str:
    return f"{spread.low:.2f} to {spread.high:.2f}"


def _error(disagreement: float | None) -> str:
    return _NONE if disagreement is None else f"{disagreement:.0e}"


def _text(text: str) -> str:
    return text.translate(_ESCAPED)
