"""gradmeter measure: from a classifier and its data to readings on disk."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gradmeter.apps.cli.parameters import (
    Actors,
    AsJson,
    Classes,
    Data,
    Device,
    Engine,
    Grey,
    ImageSize,
    Mean,
    Model,
    OnEngine,
    Quiet,
    Std,
    Weights,
    recipe,
)
from gradmeter.apps.cli.terminal import Terminal


def measure(
    model: Model,
    data: Data,
    out: Annotated[
        str,
        typer.Option(
            "--out", "-o", help="Folder of the Parquet data set, at a path or an address (s3://BUCKET/FOLDER)."
        ),
    ] = "readings.parquet",
    weights: Weights = None,
    classes: Classes = None,
    labels: Annotated[
        bool,
        typer.Option(
            "--labels/--no-labels", help="Whether DATA's labels are MODEL's classes; if not, they are ignored."
        ),
    ] = True,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    grey: Grey = False,
    device: Device = None,
    workers: Actors = 0,
    engine: OnEngine = Engine.local,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, even if --out holds readings.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure the gradient that MODEL's own prediction would cause, for each sample in DATA; write Parquet.

    Memory use does not grow with DATA. If it is killed, run the same command again: it continues where it stopped.
    """
    # The command line starts faster without PyTorch.
    from gradmeter.apps.cli.progress import bars, trial_device
    from gradmeter.apps.workflows.answered import answered, answered_record
    from gradmeter.runs.measuring import MeasuredSet
    from gradmeter.runs.measuring import measure as run
    from gradmeter.sources.samples import Unlabelled, open_source, require_outside

    require_outside(out, [data])
    opened = recipe(model, weights, classes, image_size, mean, std, grey=grey)
    with bars(out, quiet=quiet) as shown:
        classifier = opened.open(trial_device(device, engine))
        source = open_source(data, classifier.image)
        work = shown.work(device, workers, fresh=fresh, engine=engine)
        measured = run(classifier, source if labels else Unlabelled(source), out, work)
    readings = MeasuredSet(out)
    right = readings.right()
    if as_json:
        record = {
            "out": readings.name,
            "measured": measured.rows,
            "known": None if right is None else answered_record(right),
            "skipped": [{"id": one.id, "reason": one.reason} for one in measured.skipped],
        }
        typer.echo(json.dumps(record, indent=2))
        return
    left_out = f", {len(measured.skipped):,} skipped" if measured.skipped else ""
    correct = "" if right is None else f" {answered(right)}"
    lines = Terminal()
    lines.say(f"Measured {measured.rows:,} samples{left_out}.{correct} Readings: {readings.name}")
