"""gradmeter evaluate: measure how good P(correct) is on new data, and write a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from gradmeter.apps.cli.command import needs_extra
from gradmeter.apps.cli.parameters import (
    AsJson,
    Device,
    Known,
    OnePer,
    Quiet,
    Repetitions,
    Unknown,
    Workers,
)
from gradmeter.apps.cli.terminal import Terminal, typed_command
from gradmeter.errors import InputError

Value = TypeVar("Value")


def evaluate(
    trust: Annotated[
        list[Path],
        typer.Argument(
            help="Folder of the TrustModel, written by gradmeter fit; or two, to compare them on the same data.",
            show_default=False,
        ),
    ],
    known: Known,
    unknown: Unknown = None,
    one_per: OnePer = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the report to.")] = Path("evaluation"),
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="The network, as in gradmeter fit. Required if it is a function; default: the one that TRUST names. "
            "Repeat the option for two TRUSTs of two networks.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            help="File of the weights, if it has moved since gradmeter fit. Repeat the option for two TRUSTs of two "
            "networks.",
            show_default=False,
        ),
    ] = None,
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

    Two TRUSTs, of one network or of two with the same classes, are evaluated in subfolders of --out and compared on the
    same inputs, with paired intervals.

    If the command is interrupted, run it again: it continues where it stopped.
    """
    # Imported here so that --help is fast and the other commands do not need the packages of a report.
    with needs_extra("report", "a report"):
        from gradmeter.apps.workflows.evaluation_report import write_evaluation
        from gradmeter.apps.workflows.side_by_side_report import answer as answer_of_two
        from gradmeter.apps.workflows.side_by_side_report import write_side_by_side
    from gradmeter.apps.cli.progress import bars, trial_device
    from gradmeter.apps.cli.tables import comparison_table
    from gradmeter.apps.workflows.evaluate import evaluate as run
    from gradmeter.apps.workflows.fit import OURS
    from gradmeter.apps.workflows.open_trust import open_trust
    from gradmeter.apps.workflows.side_by_side import Candidate, evaluate_two, short_names
    from gradmeter.apps.workflows.wording import answer
    from gradmeter.sources.samples import require_outside
    from gradmeter.stages import stage

    if len(trust) > 2:
        raise InputError(f"{len(trust)} TRUSTs; expected one, or two to compare them")
    models, files = _of_each(trust, "--model", model), _of_each(trust, "--weights", weights)
    require_outside(out, [known, *(unknown or [])])
    with bars(out, quiet=quiet) as shown:
        trial, work = trial_device(device), shown.work(device, workers, fresh=fresh)
        opened = [
            open_trust(path, model=of_path, weights=file, device=trial)
            for path, of_path, file in zip(trust, models, files, strict=True)
        ]
        if len(opened) == 1:
            evaluation = run(
                *opened[0],
                known,
                unknown or [],
                out,
                one_per=one_per,
                repetitions=repetitions,
                work=work,
                on_resample=shown.resampling(repetitions),
            )
            with stage("writing the report"):
                report = write_evaluation(evaluation, out, command=typed_command(), trust=trust[0])
            comparison, first_method, lines = evaluation.comparison, OURS, answer(evaluation)
        else:
            names = short_names(trust)
            first, second = (Candidate(name, *pair) for name, pair in zip(names, opened, strict=True))
            result = evaluate_two(
                (first, second),
                known,
                unknown or [],
                out,
                one_per=one_per,
                repetitions=repetitions,
                work=work,
                on_resample=lambda: shown.resampling(repetitions),
            )
            with stage("writing the reports"):
                paths = dict(zip(names, trust, strict=True))
                report = write_side_by_side(result, out, command=typed_command(), trusts=paths)
            comparison, first_method, lines = result.comparison, first.name, answer_of_two(result)
    if as_json:
        typer.echo(json.dumps(json.loads((out / "results.json").read_text(encoding="utf-8")), indent=2))
        return
    console = Terminal()
    console.show(comparison_table(comparison, ("auroc", "aupr_out"), first_method))
    for line in (*lines, f"Report: {report}"):
        console.say(line)


def _of_each(trust: Sequence[Path], option: str, values: Sequence[Value] | None) -> Sequence[Value | None]:
    """Return the value of an option for each TRUST: one for all, or one for each.

    Raises:
        InputError: if there are as many as neither.
    """
    given = values or []
    if len(given) > 1 and len(given) != len(trust):
        raise InputError(f"{option} is given {len(given)} times for {len(trust)} TRUST; give it once for each")
    return given if len(given) > 1 else [given[0] if given else None] * len(trust)
