"""A whole benchmark: measure what is missing, then write the page and its figures."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from gradmeter.report.markdown import counted
from gradmeter.research.speed_benchmark import verdicts
from gradmeter.research.speed_benchmark.isolation import MeasurementError, run_isolated
from gradmeter.research.speed_benchmark.machine import describe_machine
from gradmeter.research.speed_benchmark.methods import METHODS, Method
from gradmeter.research.speed_benchmark.models import MODELS
from gradmeter.research.speed_benchmark.options import BenchOptions
from gradmeter.research.speed_benchmark.page import write_page
from gradmeter.research.speed_benchmark.probe import exact_norms, probe
from gradmeter.research.speed_benchmark.results import SpeedResults
from gradmeter.research.speed_benchmark.scaling import COUNTS, QUICK_COUNTS, stream
from gradmeter.research.speed_benchmark.timing import take_turns
from gradmeter.runs.progress import Progress, lone_stage
from gradmeter.version import __version__

_STREAMED = "paper-cnn"
# Time limit of a memory measurement, as a multiple of the cap: two calls, and the imports of a new process.
_PROBE_CAPS = 20
_STREAM_SECONDS = 3600.0  # time limit of a stream of images

Step = Callable[[str], None]


def run_benchmark(options: BenchOptions, folder: Path, *, command: str, console: Console, fresh: bool = False) -> bool:
    """Measure what results.json does not hold yet; write results.json, performance.md and figures.

    Args:
        options: what to measure.
        folder: output folder.
        command: the command as the user typed it, for the page.
        console: shows progress.
        fresh: start over if the folder holds results.

    Returns:
        Whether anything was left to measure.

    Raises:
        OutputError: if the folder cannot be written, or holds results of other options or another machine.
    """
    results = SpeedResults(folder, options, _describe(options, command))
    with results.store.locked():
        results.begin(fresh=fresh)
        measured = "finished" not in results.content or verdicts.are_missing(results)
        if measured:
            _measure(results, options, console)
            results.content["finished"] = datetime.now(UTC).strftime("%Y-%m-%d")
            results.write()
        with lone_stage(console, "writing the page"):
            write_page(results, folder)
    return measured


def _measure(results: SpeedResults, options: BenchOptions, console: Console) -> None:
    """Measure what is missing, and write the results after each part."""
    with Progress(console) as progress:
        task = progress.add_task("bench", total=_steps(options))

        def on_step(note: str) -> None:
            progress.update(task, note=note)

        for name in options.models:
            if name not in results.probes:
                results.probes[name] = _probe(name, options, on_step)
                results.write()
            progress.advance(task)
            timings = results.timings.setdefault(name, {})
            for threads in options.threads:
                if str(threads) not in timings:
                    timings[str(threads)] = _time(name, options, threads, results.probes[name], on_step)
                    results.write()
                progress.advance(task)
        verdicts.measure_verdicts(results, on_step, lambda: progress.advance(task))
        for count in _counts(options):
            if str(count) not in results.stream:
                on_step(f"{count:,} images")
                results.stream[str(count)] = _stream(count, options)
                results.write()
            progress.advance(task)


def _probe(name: str, options: BenchOptions, on_step: Step) -> dict[str, dict[str, Any]]:
    """Measure the memory of every method on one network, and the error of its norms."""
    model, threads, seconds = MODELS[name], options.threads[0], _PROBE_CAPS * options.cap
    on_step(f"{model.title}: exact norms")
    try:
        exact = run_isolated(exact_norms, model, threads, seconds=seconds)
    except MeasurementError:
        exact = None
    record: dict[str, dict[str, Any]] = {}
    for method in options.methods:
        on_step(f"{model.title}: memory of {METHODS[method].title}")
        try:
            measured = run_isolated(probe, model, METHODS[method], threads, seconds=seconds)
        except MeasurementError as error:
            record[method] = {"error": str(error)}
        else:
            disagreement = _disagreement(measured.norms, exact)
            record[method] = {"memory": measured.memory, "seconds": measured.seconds, "disagreement": disagreement}
    return record


def _disagreement(norms: list[float] | None, exact: list[float] | None) -> float | None:
    """Return the largest relative difference between norms; infinity if a norm is NaN."""
    if norms is None or exact is None:
        return None
    actual, expected = (torch.tensor(values, dtype=torch.float64) for values in (norms, exact))
    return float(((actual - expected).abs() / expected.abs()).nan_to_num(float("inf")).max())


def _time(
    name: str, options: BenchOptions, threads: int, probes: dict[str, dict[str, Any]], on_step: Step
) -> dict[str, dict[str, Any]]:
    title = f"{MODELS[name].title}, {counted(threads, 'thread')}"
    rounds = {
        method: _rounds(METHODS[method], options, probes[method]["seconds"])
        for method in options.methods
        if "error" not in probes[method]
    }
    if not rounds:
        return {}
    timings = take_turns(
        MODELS[name],
        {method: METHODS[method] for method in rounds},
        rounds,
        threads,
        lambda method: on_step(f"{title}: {method}"),
    )
    return {method: asdict(timing) for method, timing in timings.items()}


def _rounds(method: Method, options: BenchOptions, seconds: float) -> int:
    """Return a method's number of rounds; only peers get fewer, since gradmeter and T0 are needed in every round."""
    if method.kind != "peer":
        return options.repeats
    return max(1, min(options.repeats, int(options.cap / max(seconds, 1e-9))))


def _stream(count: int, options: BenchOptions) -> dict[str, Any]:
    try:
        return asdict(run_isolated(stream, MODELS[_STREAMED], count, options.threads[0], seconds=_STREAM_SECONDS))
    except MeasurementError as error:
        return {"error": str(error)}


def _counts(options: BenchOptions) -> tuple[int, ...]:
    if _STREAMED not in options.models or "gradmeter" not in options.methods:
        return ()
    return QUICK_COUNTS if options.quick else COUNTS


def _steps(options: BenchOptions) -> int:
    cells = len(options.models) * (1 + len(options.threads))
    timed = sum(len(verdicts.BATCHES[name]) for name in verdicts.timed_networks(options))
    return cells + timed + len(_counts(options))


def _describe(options: BenchOptions, command: str) -> dict[str, Any]:
    return {
        "gradmeter": __version__,
        "command": command,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, **options.versions()},
        "machine": describe_machine(),
    }
