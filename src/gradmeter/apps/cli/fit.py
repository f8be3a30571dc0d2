"""gradmeter fit: from a classifier and data to a TrustModel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.parameters import (
    AsJson,
    Classes,
    Device,
    Grey,
    ImageSize,
    Known,
    Mean,
    Model,
    Quiet,
    Repetitions,
    Std,
    Unknown,
    Weights,
    Workers,
    recipe,
)
from gradmeter.apps.cli.terminal import Terminal
from gradmeter.names import encode_name

_NO_PROMISE = 1


def fit(
    model: Model,
    known: Known,
    unknown: Unknown = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the TrustModel.")] = Path("trust"),
    classifier: Annotated[
        str,
        typer.Option(
            help="Meta classifier: gradmeter, which also learns from synthetic unknowns made of the known images; or "
            "ridge_cv, ridge, lasso, glm, elastic_net, neural_network."
        ),
    ] = "gradmeter",
    risk: Annotated[
        float | None,
        typer.Option(
            help="Largest share of errors among accepted inputs, as 0.01. A random half of the data is kept for the "
            "proof.",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(help="That --risk is kept.", min=0, max=1)] = 0.95,
    least_probability: Annotated[
        float, typer.Option(help="With --risk: smallest P(correct) that is ever accepted.", min=0, max=1)
    ] = 0.5,
    coverage_tolerance: Annotated[
        float,
        typer.Option(
            help="With --risk: share of the largest coverage that may be given up for a stricter threshold, so that "
            "inputs of other kinds are not accepted needlessly.",
            min=0,
            max=1,
        ),
    ] = 0.005,
    weights: Weights = None,
    classes: Classes = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    grey: Grey = False,
    device: Device = None,
    workers: Workers = 0,
    repetitions: Repetitions = 1000,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again, even if --out holds finished readings.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Learn when MODEL's predictions are wrong, from labelled validation data and from unknown inputs.

    Compare P(correct) with softmax and entropy on held-out folds, and write a TrustModel.

    If it is killed, run the same command again: it continues where it stopped. With another --classifier, --risk or
    --confidence, the TrustModel in --out is replaced and its readings are used again.
    """
    # The command line starts faster without PyTorch.
    from gradmeter.apps.cli.progress import bars
    from gradmeter.apps.cli.tables import comparison_table
    from gradmeter.apps.workflows.answered import answered, answered_record
    from gradmeter.apps.workflows.fit import fit as run
    from gradmeter.apps.workflows.records import (
        difference_records,
        estimate_records,
        guarantee_record,
        skipped_records,
    )
    from gradmeter.apps.workflows.wording import compared, learned, promised
    from gradmeter.sources.samples import require_outside

    require_outside(out, [known, *(unknown or [])])
    opened = recipe(model, weights, classes, image_size, mean, std, grey=grey)
    with bars(out, quiet=quiet) as shown:
        fitted = run(
            opened,
            known,
            unknown or [],
            out,
            meta_classifier=classifier,
            risk=risk,
            confidence=confidence,
            least_probability=least_probability,
            coverage_tolerance=coverage_tolerance,
            repetitions=repetitions,
            work=shown.work(device, workers, fresh=fresh),
            on_resample=shown.resampling(repetitions),
        )
    if as_json:
        judge = fitted.trust.judge
        assert judge is not None
        record = {
            "out": encode_name(str(out)),
            "replaced": fitted.replaced,
            "known": answered_record(fitted.answered),
            "learned_from": fitted.learned_from,
            "no_synthetic": fitted.no_synthetic,
            "presumed_unknown_share": judge.unknown_share,
            "known_loss": judge.known_loss,
            "fallback": judge.fallback,
            "skipped": skipped_records(fitted.sets),
            "estimates": estimate_records(fitted.comparison),
            "differences": difference_records(fitted.comparison),
            "guarantee": guarantee_record(fitted.guarantee),
            "known_coverage": fitted.known_coverage,
            "refusal": fitted.refusal,
        }
        typer.echo(json.dumps(record, indent=2))
    else:
        console = Terminal()
        console.say(answered(fitted.answered))
        console.say(learned(fitted))
        if fitted.comparison.estimates:
            console.print(comparison_table(fitted.comparison, ("auroc", "aupr_out")))
        lines = compared(fitted.comparison, fitted.judged.columns())
        if fitted.guarantee is not None:
            lines.append(promised(fitted.guarantee, fitted.unknown_share, fitted.known_coverage))
        before = f", in place of the one that was there ({fitted.replaced})" if fitted.replaced else ""
        for line in (*lines, f"TrustModel: {out}{before}"):
            console.say(line)
    if fitted.refusal is not None:
        Terminal(stderr=True).say(
            f"gradmeter: --risk {risk}: {fitted.refusal}. The TrustModel was saved without a promise."
        )
        raise typer.Exit(_NO_PROMISE)
