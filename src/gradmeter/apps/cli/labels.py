"""gradmeter labels: find wrong labels."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.command import needs_extra
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
    Reads,
    Std,
    Weights,
    recipe,
)
from gradmeter.apps.cli.terminal import Terminal, typed_command
from gradmeter.names import encode_name


def labels(
    model: Model,
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="The table to write, NAME.parquet; the folder NAME.review beside it gets a report and lists for "
            "annotators.",
        ),
    ] = Path("labels.parquet"),
    learned: Annotated[
        bool,
        typer.Option(
            "--learned",
            help="The network was trained on these labels: judge them by new last layers, fitted out of fold to the "
            "network's embedding.",
        ),
    ] = False,
    reads: Annotated[
        Reads,
        typer.Option(
            help="What to read of each sample: the forward pass only, or the gradient at its label, too. auto compares "
            "both on held-out folds of at most 1,000 labels and reads gradients only if they pay."
        ),
    ] = Reads.forward,
    folds: Annotated[int, typer.Option(help="No label is judged by a model that saw it: number of folds.", min=2)] = 5,
    weights: Weights = None,
    classes: Classes = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    grey: Grey = False,
    device: Device = None,
    workers: Actors = 0,
    engine: OnEngine = Engine.local,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, even if --out holds finished readings.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find labels in DATA that are probably wrong, and estimate how many are.

    For each sample: P(the label is right), a likelier class, and a reason to look at it. DATA needs labels, which are
    classes of MODEL. If the command is interrupted, run it again: it continues where it stopped.
    """
    # Imported here so that --help does not wait for PyTorch.
    with needs_extra("report", "a report"):
        from gradmeter.apps.workflows.label_report import write_report
    from gradmeter.apps.cli.progress import bars, trial_device
    from gradmeter.apps.workflows.label_lists import write_lists
    from gradmeter.apps.workflows.label_words import answer
    from gradmeter.apps.workflows.labels import REVIEW, check_labels, require_ours, review_folder
    from gradmeter.apps.workflows.sets import recipe_for
    from gradmeter.sources.samples import open_source, require_outside
    from gradmeter.stages import stage

    require_outside(out, [data])
    require_ours(out)
    opened = recipe(model, weights, classes, image_size, mean, std, grey=grey)
    with bars(review_folder(out), quiet=quiet) as shown:
        classifier = recipe_for(opened, data).open(trial_device(device, engine))
        source = open_source(data, classifier.image, arrays=classifier.arrays)
        work = shown.work(device, workers, fresh=fresh, engine=engine)
        checked = check_labels(classifier, source, out, work, learned=learned, reads=reads.value, folds=folds)
        with stage("writing the report"):
            write_lists(checked)
            report = write_report(checked, typed_command())
    if as_json:
        record = {
            "out": encode_name(str(out)),
            "labels": len(checked.verdicts),
            "rate": {"value": checked.rate.value, "low": checked.rate.low, "high": checked.rate.high},
            "reasons": checked.reasons,
            "learned": checked.learned,
            "reads": checked.reads,
            "choice": None if checked.choice is None else asdict(checked.choice),
            "notes": list(checked.notes),
            "skipped": [{"id": sample.id, "reason": sample.reason} for sample in checked.skipped],
        }
        typer.echo(json.dumps(record, indent=2))
        return
    terminal = Terminal()
    for line in (*answer(checked), f"Table: {out}", f"List for annotators: {checked.folder / REVIEW}"):
        terminal.say(line)
    terminal.say(f"Report: {report}")
