"""gradmeter judge: estimate for each prediction how likely it is correct."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradmeter.apps.cli.command import needs_extra
from gradmeter.apps.cli.parameters import Actors, Data, Device, Engine, OnEngine, OtherModel, OtherWeights, Quiet
from gradmeter.apps.cli.terminal import Terminal
from gradmeter.errors import InputError
from gradmeter.names import printable
from gradmeter.report.probabilities import compared

if TYPE_CHECKING:
    from gradmeter.apps.cli.progress import Bars
    from gradmeter.apps.workflows.verdict_files import JudgedSamples
    from gradmeter.runs.measuring import Skipped


def judge(
    trust: Annotated[
        Path,
        typer.Argument(
            help="Folder of the TrustModel, written by gradmeter fit; or an .onnx file, written by gradmeter export, "
            "which is judged without PyTorch.",
            show_default=False,
        ),
    ],
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
    if trust.suffix.lower() == ".onnx" and not trust.is_dir():
        given = {"--model": model, "--weights": weights, "--device": device, "--workers": workers}
        options = [name for name, value in given.items() if value] + (["--engine"] if engine is Engine.ray else [])
        if options:
            raise InputError(f"{options[0]} is given, but {trust} holds its network and runs on the CPU; remove it")
        _judge_onnx(trust, data, out, fresh=fresh, quiet=quiet, as_json=as_json)
        return
    # Imported here so that --help does not wait for PyTorch.
    from gradmeter.apps.cli.progress import bars, trial_device
    from gradmeter.apps.workflows.judge import judge as run
    from gradmeter.apps.workflows.judge import verdicts
    from gradmeter.apps.workflows.open_trust import open_trust
    from gradmeter.sources.samples import open_source, require_outside

    if out is None and engine is not Engine.local:
        raise InputError(f"--engine {engine} needs an output; give --out")
    if out is not None:
        require_outside(out, [data])
    with bars(out, quiet=quiet) as shown:
        opened, classifier = open_trust(trust, model=model, weights=weights, device=trial_device(device, engine))
        source = open_source(data, classifier.image, arrays=classifier.arrays, labels=False)
        work = shown.work(device, workers, fresh=fresh, engine=engine)
        if out is None:
            shown.begin(f"judging {source.name}", len(source))
            if as_json:
                work = replace(work, on_skip=lambda skipped: _print_skipped(skipped, shown))
            _print_rows(verdicts(opened, classifier, source, work), shown, as_json=as_json)
            return
        judged = run(opened, classifier, source, out, work)
    _print_summary(out, judged, as_json=as_json)


def _judge_onnx(trust: Path, data: str, out: str | None, *, fresh: bool, quiet: bool, as_json: bool) -> None:
    """Judge with an ONNX file; nothing here imports PyTorch."""
    from gradmeter.apps.cli.progress import bars
    from gradmeter.sources.samples import require_outside

    with needs_extra("onnx", "an .onnx file"):
        from gradmeter.apps.onnx.judged_model import JudgedModel
        from gradmeter.apps.onnx.judging import judge as run
        from gradmeter.apps.onnx.judging import source_for, verdicts

    if out is not None:
        require_outside(out, [data])
    with bars(out, quiet=quiet) as shown:
        model = JudgedModel.open(trust)
        source = source_for(model, data)
        work = shown.work("cpu", 0, fresh=fresh)
        if out is None:
            shown.begin(f"judging {source.name}", len(source))
            if as_json:
                work = replace(work, on_skip=lambda skipped: _print_skipped(skipped, shown))
            _print_rows(verdicts(model, source, work), shown, as_json=as_json)
            return
        judged = run(model, source, out, work)
    _print_summary(out, judged, as_json=as_json)


def _print_rows(rows: Iterable[dict[str, Any]], shown: Bars, *, as_json: bool) -> None:
    is_file = Terminal().is_file
    for row in rows:
        if not is_file:  # the row, or what another program prints of it, would continue the line of the bar
            shown.hide()
        typer.echo(json.dumps(row) if as_json else printable(_line(row)))


def _print_summary(out: str, judged: JudgedSamples, *, as_json: bool) -> None:
    from gradmeter.sources.samples.location import Location

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


def _print_skipped(skipped: Skipped, shown: Bars) -> None:
    _print_rows([{"id": skipped.id, "skipped": skipped.reason}], shown, as_json=True)


def _line(row: dict[str, Any]) -> str:
    # Of several layers only the first is shown, so that the line stays short.
    reason = (row["reason"] or "").partition(", ")[0]
    decision = {None: "", True: "  accept", False: f"  abstain ({reason})"}[row["accepted"]]
    names = {"probability": "p", "p_known": "P(known)", "p_correct": "P(correct)"}
    scores = "  ".join(f"{name}{compared(row[key])}" for key, name in names.items() if row[key] is not None)
    return f"{row['id']}  {row['prediction']}  {scores}{decision}"
