"""gradmeter measure: measure per-sample gradients of a classifier and write them to disk."""

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
            "--labels/--no-labels", help="Use the labels of DATA, which must be classes of the network, or ignore them."
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
    """Measure, for each sample in DATA, the gradient if MODEL's prediction were the label; write Parquet.

    Memory use does not grow with DATA. If the command is interrupted, run it again: it continues where it stopped.
    """
    # Imported here so that --help does not wait for PyTorch.
    from gradmeter.apps.cli.progress import bars, trial_device
    from gradmeter.apps.workflows.accuracy import accuracy_record, accuracy_sentence
    from gradmeter.apps.workflows.sets import recipe_for
    from gradmeter.runs.measuring import MeasuredSet
    from gradmeter.runs.measuring import measure as run
    from gradmeter.sources.samples import Unlabelled, labels_elsewhere, open_source, require_outside

    require_outside(out, [data])
    opened = recipe(model, weights, classes, image_size, mean, std, grey=grey)
    with bars(out, quiet=quiet) as shown:
        classifier = recipe_for(opened, data).open(trial_device(device, engine))
        source = open_source(data, classifier.image, arrays=classifier.arrays, labels=labels)
        if labels and (note := labels_elsewhere(source)) is not None:
            shown.show_note(note)
        work = shown.work(device, workers, fresh=fresh, engine=engine)
        measured = run(classifier, source if labels else Unlabelled(source), out, work)
    readings = MeasuredSet(out)
    counts = readings.right()
    if as_json:
        record = {
            "out": readings.name,
            "measured": measured.rows,
            "known": None if counts is None else accuracy_record(counts),
            "skipped": [{"id": sample.id, "reason": sample.reason} for sample in measured.skipped],
        }
        typer.echo(json.dumps(record, indent=2))
        return
    skipped = f", skipped {len(measured.skipped):,}" if measured.skipped else ""
    accuracy = "" if counts is None else f" {accuracy_sentence(counts)}"
    Terminal().say(f"Measured {measured.rows:,} samples{skipped}.{accuracy} Readings: {readings.name}")
