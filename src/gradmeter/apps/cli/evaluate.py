"""gradmeter evaluate: measure how good P(correct) is on new data, and write a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.command import needs_extra
from gradmeter.apps.cli.parameters import (
    AsJson,
    Device,
    Known,
    OtherModel,
    OtherWeights,
    Quiet,
    Repetitions,
    Trust,
    Unknown,
    Workers,
)
from gradmeter.apps.cli.terminal import Terminal, typed_command


def evaluate(
    trust: Trust,
    known: Known,
    unknown: Unknown = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the report to.")] = Path("evaluation"),
    model: OtherModel = None,
    weights: OtherWeights = None,
    device: Device = None,
    workers: Workers = 0,
    repetitions: Repetitions = 1000,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again, even if --out holds finished readings.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare P(correct) with softmax, entropy, margin and energy on data that is new to the network and TRUST.

    Writes report.html, its tables as CSV, its figures as SVG and PNG, all judgements as Parquet, and results.json.

    If the command is interrupted, run it again: it continues where it stopped.
    """
    # Imported here so that --help is fast and the other commands do not need the packages of a report.
    with needs_extra("report", "a report"):
        from gradmeter.apps.workflows.evaluation_report import write_evaluation
    from gradmeter.apps.cli.progress import bars, trial_device
    from gradmeter.apps.cli.tables import comparison_table
    from gradmeter.apps.workflows.evaluate import evaluate as run
    from gradmeter.apps.workflows.open_trust import open_trust
    from gradmeter.apps.workflows.wording import answer
    from gradmeter.sources.samples import require_outside
    from gradmeter.stages import stage

    require_outside(out, [known, *(unknown or [])])
    with bars(out, quiet=quiet) as shown:
        opened, classifier = open_trust(trust, model=model, weights=weights, device=trial_device(device))
        evaluation = run(
            opened,
            classifier,
            known,
            unknown or [],
            out,
            repetitions=repetitions,
            work=shown.work(device, workers, fresh=fresh),
            on_resample=shown.resampling(repetitions),
        )
        with stage("writing the report"):
            report = write_evaluation(evaluation, out, command=typed_command(), trust=trust)
    if as_json:
        typer.echo(json.dumps(json.loads((out / "results.json").read_text(encoding="utf-8")), indent=2))
        return
    console = Terminal()
    console.print(comparison_table(evaluation.comparison, ("auroc", "aupr_out")))
    for line in (*answer(evaluation), f"Report: {report}"):
        console.say(line)
