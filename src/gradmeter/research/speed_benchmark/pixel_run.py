"""The benchmark of pixels: measure what is missing, then write the page."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console

from gradmeter.errors import InputError
from gradmeter.files import write_text
from gradmeter.report.markdown import counted, markdown_table
from gradmeter.research.speed_benchmark import pixels
from gradmeter.research.speed_benchmark.isolation import MeasurementError, run_isolated
from gradmeter.research.speed_benchmark.machine import counted_cores, describe_machine
from gradmeter.research.speed_benchmark.pixels import PIXEL_METHODS, REFERENCE, PixelMethod, exact_l2, layer_methods
from gradmeter.research.speed_benchmark.probe import probe
from gradmeter.research.speed_benchmark.timing import take_turns
from gradmeter.runs.progress import Progress
from gradmeter.runs.store import Store, StoreKind, as_json
from gradmeter.version import __version__

PAGE = "pixels.md"

_THREADS = 1
_SECONDS = 600.0  # time limit of a measurement of memory
_MIB = 2**20
_CHECKED = 16  # pixels whose norms are compared with exact ones
_NONE = "-"
_IDENTITY = ("gradmeter", "versions", "machine", "repeats")
_FIELDS = {"gradmeter": str, "versions": dict, "machine": dict, "repeats": int, "probes": dict, "timings": dict}
_KIND = StoreKind("results.json", "a benchmark of pixels", "gradmeter bench --pixels", _FIELDS)


def run_pixel_benchmark(repeats: int, folder: Path, *, command: str, console: Console, fresh: bool = False) -> bool:
    """Measure what results.json does not hold yet; write results.json and pixels.md.

    Args:
        repeats: number of timed rounds.
        folder: output folder.
        command: the command as the user typed it, for the page.
        console: shows progress.
        fresh: start over if the folder holds results.

    Returns:
        Whether anything was left to measure.

    Raises:
        InputError: if the number of rounds is below 1.
        OutputError: if the folder cannot be written, or holds results of other options or another machine.
    """
    if repeats < 1:
        raise InputError(f"repeats={repeats}; expected at least 1")
    store = Store(folder, _KIND)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "torchvision": version("torchvision")}
    content: dict[str, Any] = as_json(
        {
            "gradmeter": __version__,
            "command": command,
            "versions": versions,
            "machine": describe_machine(),
            "repeats": repeats,
            "probes": {},
            "timings": {},
        }
    )
    with store.locked():
        if recorded := store.begin({key: content[key] for key in _IDENTITY}, fresh=fresh):
            content = recorded
        missing = "finished" not in content
        if missing:
            _measure(content, store, console)
            content["finished"] = datetime.now(UTC).strftime("%Y-%m-%d")
            store.write(content)
        write_text(folder / PAGE, "\n".join(_lines(content)) + "\n")
    return missing


def _measure(content: dict[str, Any], store: Store, console: Console) -> None:
    probed = [name for name, method in PIXEL_METHODS.items() if method.pixels is None]
    with Progress(console) as progress:
        task = progress.add_task("bench", total=len(probed) + 3)

        def done() -> None:
            store.write(content)
            progress.advance(task)

        if "exact" not in content:
            progress.update(task, note="exact norms")
            checked = _pixels()
            content["exact"] = dict(zip(map(str, checked), exact_l2(pixels.MODEL, checked), strict=True))
        done()
        for name in probed:
            if name not in content["probes"]:
                progress.update(task, note=f"memory of {PIXEL_METHODS[name].title}")
                content["probes"][name] = _probe(PIXEL_METHODS[name], content["exact"])
            done()
        for key, model, methods in (
            ("methods", pixels.MODEL, dict(PIXEL_METHODS)),
            ("layers", pixels.SMALL, layer_methods()),
        ):
            if key not in content["timings"]:
                rounds = dict.fromkeys(methods, content["repeats"])
                # Processor time: other processes of the machine make one thread wait, but hardly work more.
                timings = take_turns(
                    model,
                    methods,
                    rounds,
                    _THREADS,
                    lambda title: progress.update(task, note=title),
                    clock=time.process_time,
                )
                content["timings"][key] = {name: asdict(timing) for name, timing in timings.items()}
            done()


def _pixels() -> list[int]:
    """Pixels that are spread over the batch."""
    model = pixels.MODEL
    total = model.batch * model.shape[1] * model.shape[2]
    return [((2 * number + 1) * total // (2 * _CHECKED) + 7 * number) % total for number in range(_CHECKED)]


def _probe(method: PixelMethod, exact: dict[str, float]) -> dict[str, Any]:
    try:
        measured = run_isolated(probe, pixels.MODEL, method, _THREADS, seconds=_SECONDS)
    except MeasurementError as error:
        return {"error": str(error)}
    disagreement = None
    if measured.norms is not None:
        flat = torch.tensor(measured.norms, dtype=torch.float64).flatten()
        disagreement = max(abs(float(flat[int(pixel)]) - norm) / norm for pixel, norm in exact.items())
    return {"memory": measured.memory, "disagreement": disagreement}


def _lines(content: dict[str, Any]) -> Iterator[str]:
    machine, model = content["machine"], pixels.MODEL
    count = model.batch * model.shape[1] * model.shape[2]
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    yield from ("# What pixels cost", "")
    yield (
        f"The last layer of {model.title}, {model.batch} images of {model.shape[1]} x {model.shape[2]} ({count:,} "
        "pixels), with one thread."
    )
    yield from ("", "```sh", content["command"], "```", "")
    yield f"- Measured on {content['finished']} with gradmeter {content['gradmeter']}; {versions}."
    yield (
        f"- Machine: {machine['processor']}, {counted_cores(machine)}, {machine['memory']} GiB of memory, "
        f"{machine['system']}. Kernel: {machine['kernel']}."
    )
    yield ""
    head = ("method", "delivers", "seconds", "/ forward", "memory", "/ forward", "error of l2")
    yield from markdown_table(head, [_row(content, name) for name in PIXEL_METHODS], texts=2)
    yield ""
    layers = content["timings"]["layers"]
    rows = [[f"`{name}`", _seconds(timing["seconds"]) or "fails"] for name, timing in layers.items()]
    yield from markdown_table((f"layer, {pixels.SMALL.title}", "seconds"), rows)
    yield ""
    yield (
        f"Seconds of processor time, medians over {counted(content['repeats'], 'round')} in which the methods "
        "take turns; a ratio is the median of the ratios of each round. Memory: peak resident memory of two calls in a "
        "new process, minus that before them. Error of l2: the largest relative difference from float64 autograd at "
        f"{_CHECKED} pixels."
    )
    yield ""
    yield (
        "PGN's published way (the code of Maag and Riedlinger, [arXiv 2303.06920](https://arxiv.org/abs/2303.06920)) "
        "takes norms at the positions of the layer's own output and interpolates them, and leaves out the entry of the "
        "predicted class and the bias. So they are other numbers than the norms of each pixel's gradient, and their "
        "difference is no rounding error. The closed form by torch operations interpolates the layer's inputs, as "
        "PixelMeter does, and stores them for all pixels."
    )
    for name, record in (*content["probes"].items(), *content["timings"]["methods"].items(), *layers.items()):
        if record.get("error"):
            yield from ("", f"{name} fails: {record['error']}")


def _row(content: dict[str, Any], name: str) -> list[str]:
    method, timings, probes = PIXEL_METHODS[name], content["timings"]["methods"], content["probes"]
    times, record = timings[name]["seconds"], probes.get(name, {})
    pixels_of_batch = pixels.MODEL.batch * pixels.MODEL.shape[1] * pixels.MODEL.shape[2]
    factor = 1 if method.pixels is None else pixels_of_batch / method.pixels
    ratios = [factor * one / other for one, other in zip(times, timings[REFERENCE]["seconds"], strict=False)]
    memory, reference = record.get("memory"), probes[REFERENCE].get("memory")
    error = record.get("disagreement")
    title = f"**{method.title}**" if method.kind == "gradmeter" else method.title
    return [
        title,
        method.delivers,
        _seconds([factor * one for one in times]) or "fails",
        _ratio(median(ratios)) if ratios else _NONE,
        _NONE if memory is None else f"{memory / _MIB:,.0f} MiB",
        _NONE if memory is None or not reference else _ratio(memory / reference),
        _NONE if error is None else f"{error:.0e}",
    ]


def _seconds(times: list[float]) -> str | None:
    if not times:
        return None
    seconds = median(times)
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.3g}"


def _ratio(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.2f}"
