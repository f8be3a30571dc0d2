"""gradmeter fit: fit a TrustModel to a classifier and data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.exit_codes import NO_GUARANTEE
from gradmeter.apps.cli.parameters import (
    AsJson,
    Classes,
    Device,
    Grey,
    ImageSize,
    Known,
    Mean,
    Model,
    OnePer,
    Quiet,
    Reads,
    Repetitions,
    Score,
    Std,
    Unknown,
    Weights,
    Workers,
    recipe,
)
from gradmeter.apps.cli.terminal import Terminal
from gradmeter.names import encode_name


def fit(
    model: Model,
    known: Known,
    unknown: Unknown = None,
    one_per: OnePer = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the TrustModel to.")] = Path("trust"),
    classifier: Annotated[
        str,
        typer.Option(
            help="Meta classifier: gradmeter, which also learns from synthetic unknown inputs made from known images; "
            "or ridge_cv, ridge, lasso, glm, elastic_net, neural_network."
        ),
    ] = "gradmeter",
    reads: Annotated[
        Reads,
        typer.Option(
            help="What to read of each sample: only the forward pass, or gradients too, which makes a verdict several "
            "times dearer. auto compares both on held-out folds and reads gradients only if they pay."
        ),
    ] = Reads.auto,
    risk: Annotated[
        float | None,
        typer.Option(
            help="Guarantee at most this rate of errors among accepted inputs, e.g. 0.01. A random half of the data is "
            "held out for the guarantee.",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[
        float, typer.Option(help="With --risk: confidence of the guarantee, strictly between 0 and 1.")
    ] = 0.95,
    least_probability: Annotated[
        float, typer.Option(help="With --risk: lower bound of the threshold, from 0 to less than 1.")
    ] = 0.5,
    coverage_tolerance: Annotated[
        float,
        typer.Option(
            help="With --risk: share of the largest possible coverage to give up for a stricter threshold, which "
            "accepts fewer inputs of other kinds, from 0 to less than 1.",
        ),
    ] = 0.005,
    score: Annotated[
        Score,
        typer.Option(
            help="With --risk: the probability to put the threshold on. P(known) and P(correct | known) need "
            "--classifier gradmeter.",
        ),
    ] = Score.p_correct,
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
    """Learn from labelled validation data and unknown inputs when MODEL's predictions are wrong; write a TrustModel.

    Also compares P(correct) with softmax and entropy on held-out folds.

    If the command is interrupted, run it again: it continues where it stopped. With another --classifier, --reads,
    --risk, --confidence or --score, it replaces the TrustModel in --out and uses its readings again where they suffice.
    """
    # Imported here so that --help does not wait for PyTorch.
    from gradmeter.apps.cli.progress import bars
    from gradmeter.apps.cli.tables import comparison_table
    from gradmeter.apps.workflows.accuracy import accuracy_record, accuracy_sentence
    from gradmeter.apps.workflows.fit import fit as run
    from gradmeter.apps.workflows.records import (
        difference_records,
        estimate_records,
        guarantee_record,
        reads_record,
        skipped_records,
    )
    from gradmeter.apps.workflows.wording import compared, guaranteed, learned
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
            reads=reads,
            risk=risk,
            confidence=confidence,
            least_probability=least_probability,
            coverage_tolerance=coverage_tolerance,
            score=score.value,
            one_per=one_per,
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
            "known": accuracy_record(fitted.accuracy_counts),
            "learned_from": fitted.learned_from,
            "absent_classes": list(fitted.absent),
            "no_synthetic": fitted.no_synthetic,
            "presumed_unknown_share": judge.unknown_share,
            "known_loss": judge.known_loss,
            "fallback": judge.fallback,
            "reads": reads_record(fitted.trust),
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
        for line in (accuracy_sentence(fitted.accuracy_counts), *learned(fitted)):
            console.say(line)
        if fitted.comparison.estimates:
            console.show(comparison_table(fitted.comparison, ("auroc",)))
        lines = compared(fitted.comparison, fitted.judged.columns())
        if fitted.guarantee is not None:
            lines.append(guaranteed(fitted.guarantee, fitted.unknown_share, fitted.known_coverage))
        replaced = "" if fitted.replaced is None else f" (replaces the one fitted with {fitted.replaced})"
        lines.append(f"TrustModel: {out}{replaced}")
        for line in lines:
            console.say(line)
    if fitted.refusal is not None:
        Terminal(stderr=True).say(
            f"gradmeter: --risk {risk}: {fitted.refusal}. The TrustModel was saved without a risk guarantee."
        )
        raise typer.Exit(NO_GUARANTEE)
