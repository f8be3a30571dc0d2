"""gradmeter judge: estimate for each prediction how likely it is correct."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradmeter.apps.cli.parameters import Actors, Data, Device, Engine, OnEngine, OtherModel, OtherWeights, Quiet, Trust
from gradmeter.apps.cli.terminal import Terminal
from gradmeter.errors import InputError
from gradmeter.names import printable
from gradmeter.report.probabilities import compared

if TYPE_CHECKING:
    from gradmeter.runs.measuring import Skipped


def judge(
    trust: Trust,
    data: Data,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of a Parquet data set, at a path or an address (s3://BUCKET/FOLDER), or a .csv file (default: "
            "print one line per sample).",
            show_default=False,
        ),
    ] = None,
    model: OtherModel = None,
    weights: OtherWeights = None,
    device: Device = None,
    workers: Actors = 0,
    engine: OnEngine = Engine.local,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, even if --out holds verdicts.")] = False,
    quiet: Quiet = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print a summary as JSON; without --out, print JSON Lines with an object for each sample, which holds "
            'the reason as "skipped" if the sample cannot be read.',
        ),
    ] = False,
) -> None:
    """Judge each sample in DATA: what the network predicts, how likely that is correct, and whether to accept it.

    Memory use does not grow with DATA. If a command with --out is interrupted, run it again: it continues where it
    stopped.
    """
    # Imported here so that --help does not wait for PyTorch.
    from gradmeter.apps.cli.progress import bars, trial_device
    from gradmeter.apps.workflows.judge import judge as run
    from gradmeter.apps.workflows.judge import verdicts
    from gradmeter.apps.workflows.open_trust import open_trust
    from gradmeter.sources.samples import open_source, require_outside
    from gradmeter.sources.samples.location import Location

    if out is None and engine is not Engine.local:
        raise InputError(f"--engine {engine} needs an output; give --out")
    if out is not None:
        require_outside(out, [data])
    with bars(out, quiet=quiet) as shown:
        opened, classifier = open_trust(trust, model=model, weights=weights, device=trial_device(device, engine))
        source = open_source(data, classifier.image, arrays=classifier.arrays)
        work = shown.work(device, workers, fresh=fresh, engine=engine)
        if out is None:
            shown.begin(f"judging {source.name}", len(source))
            if as_json:
                work = replace(work, on_skip=_print_skipped)
            for row in verdicts(opened, classifier, source, work):
                typer.echo(json.dumps(row) if as_json else printable(_line(row)))
            return
        judged = run(opened, classifier, source, out, work)
    name = Location(out).name
    if as_json:
        skipped = [{"id": sample.id, "reason": sample.reason} for sample in judged.skipped]
        record = {"out": name, "judged": judged.rows, "accepted": judged.accepted, "skipped": skipped}
        typer.echo(json.dumps(record))
        return
    skipped_count = f", skipped {len(judged.skipped):,}" if judged.skipped else ""
    accepted = (
        "The TrustModel has no risk guarantee, so none is accepted or rejected."
        if judged.accepted is None
        else f"{judged.accepted:,} are accepted."
    )
    Terminal().say(f"Judged {judged.rows:,} samples{skipped_count}. {accepted} Verdicts: {name}")


def _print_skipped(skipped: Skipped) -> None:
    typer.echo(json.dumps({"id": skipped.id, "skipped": skipped.reason}))


def _line(row: dict[str, Any]) -> str:
    # Of several layers only the first is shown, so that the line stays short.
    reason = (row["reason"] or "").partition(", ")[0]
    decision = {None: "", True: "  accept", False: f"  abstain ({reason})"}[row["accepted"]]
    names = {"probability": "p", "p_known": "P(known)", "p_correct": "P(correct)"}
    scores = "  ".join(f"{name}{compared(row[key])}" for key, name in names.items() if row[key] is not None)
    return f"{row['id']}  {row['prediction']}  {scores}{decision}"
