"""gradmeter measure: from a classifier and a folder of images to readings on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gradmeter.cli.parameters import (
    Classes,
    Data,
    Device,
    Grey,
    ImageSize,
    Mean,
    Model,
    Std,
    Weights,
    Workers,
    names,
    numbers,
)

_INTERRUPTED = 130  # as shells report SIGINT


def measure(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the Parquet data set.")] = Path(
        "readings.parquet"
    ),
    weights: Weights = None,
    classes: Classes = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    grey: Grey = False,
    device: Device = None,
    workers: Workers = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew where --out holds readings already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came of it as JSON.")] = False,
) -> None:
    """Read the gradient of every sample in DATA that MODEL's own answer would cause, into Parquet.

    Memory does not grow with DATA. Killed at any moment, the same command goes on where it stood.
    """
    # The command line starts faster without PyTorch.
    from gradmeter.measuring import Skipped
    from gradmeter.measuring import measure as run
    from gradmeter.models import ImageOptions, open_model
    from gradmeter.samples import open_source

    options = ImageOptions(image_size, numbers("--mean", mean), numbers("--std", std), grey)
    classifier = open_model(model, weights, options)
    if classes is not None:
        classifier = classifier.named(names(classes))
    source = open_source(data, classifier.image)
    console, lines = Console(), Console(stderr=True, soft_wrap=True, highlight=False)
    columns = [TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]

    def show(skipped: Skipped) -> None:
        lines.print(f"skipped {skipped.id}: {skipped.reason}", markup=False)

    try:
        with Progress(*columns, console=lines, transient=True, disable=not lines.is_terminal) as progress:
            bar = progress.add_task("", total=len(source))
            measured = run(
                classifier,
                source,
                out,
                device=device or _best_device(),
                workers=workers,
                fresh=fresh,
                on_progress=lambda samples: progress.advance(bar, samples),
                on_skip=show,
            )
    except KeyboardInterrupt:
        console.print("Stopped. Nothing is lost: the same command goes on where it stood.")
        raise typer.Exit(_INTERRUPTED) from None
    if as_json:
        skipped = [{"id": one.id, "reason": one.reason} for one in measured.skipped]
        typer.echo(json.dumps({"out": str(out), "measured": measured.rows, "skipped": skipped}, indent=2))
        return
    left_out = f", {len(measured.skipped):,} skipped" if measured.skipped else ""
    console.print(f"Measured {measured.rows:,} samples{left_out}. Readings: {out}", soft_wrap=True, highlight=False)


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
