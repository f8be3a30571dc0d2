"""gradmeter reproduce: reproduce the study of the paper with one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.command import needs_extra
from gradmeter.apps.cli.parameters import Engine, OnEngine, Quiet
from gradmeter.apps.cli.terminal import Terminal, typed_command
from gradmeter.errors import InputError
from gradmeter.names import encode_name
from gradmeter.research.study.options import RUNS_COMPARED, StudyOptions
from gradmeter.runs.machine import available_cores

_DEFAULTS = StudyOptions()
_STUDY, _READINGS, _WORK = "Study", "Details that the paper leaves open", "Work"


def reproduce(
    data: Annotated[
        str,
        typer.Option(
            help='Images: "embedded" (real digits that are installed with gradmeter), a folder of .npz archives, or '
            '"emnist" (the data of the paper, read through torchvision).',
            rich_help_panel=_STUDY,
        ),
    ] = "embedded",
    root: Annotated[
        Path | None, typer.Option(help="With --data emnist: folder of the data sets.", rich_help_panel=_STUDY)
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="With --data emnist: download missing data.", rich_help_panel=_STUDY)
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Output folder (default: runs/NAME_OF_DATA).", rich_help_panel=_STUDY)
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(
            help=f"Number of networks, each with its own split and seeds (default: {_DEFAULTS.runs}; with "
            f"--compare-readings, {RUNS_COMPARED} for each choice).",
            rich_help_panel=_STUDY,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.", rich_help_panel=_STUDY)] = _DEFAULTS.seed,
    compare_readings: Annotated[
        bool,
        typer.Option(
            "--compare-readings",
            help="Instead of the study: train networks with each choice of the details that the paper leaves open, and "
            "compare the results of softmax and entropy with the paper.",
            rich_help_panel=_STUDY,
        ),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over, even if --out holds a study.", rich_help_panel=_WORK)
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Runs in parallel (default: one per core; with --engine ray, all). The tables do not depend on it.",
            rich_help_panel=_WORK,
        ),
    ] = None,
    engine: OnEngine = Engine.local,
    quiet: Quiet = False,
    padding: Annotated[
        str, typer.Option(help='Padding of the convolutions: "valid" or "same".', rich_help_panel=_READINGS)
    ] = _DEFAULTS.padding,
    weight_decay: Annotated[
        float,
        typer.Option(
            help="Weight decay of the kernels; an L2 penalty c * sum(w^2) is a decay of 2c.", rich_help_panel=_READINGS
        ),
    ] = _DEFAULTS.weight_decay,
    decayed: Annotated[
        str,
        typer.Option(help='Kernels with weight decay: "all", "convolutions" or "dense".', rich_help_panel=_READINGS),
    ] = _DEFAULTS.decayed,
    first_dropout: Annotated[
        str,
        typer.Option(
            help='Place of the first dropout: "after" or "before" the first pooling.', rich_help_panel=_READINGS
        ),
    ] = _DEFAULTS.first_dropout,
    patience: Annotated[
        int,
        typer.Option(help="Epochs without improvement before the learning rate is reduced.", rich_help_panel=_READINGS),
    ] = _DEFAULTS.patience,
    max_epochs: Annotated[
        int, typer.Option(help="Maximum number of epochs.", rich_help_panel=_READINGS)
    ] = _DEFAULTS.max_epochs,
    weights: Annotated[
        str, typer.Option(help='Weights to use: those of the "last" or the "best" epoch.', rich_help_panel=_READINGS)
    ] = _DEFAULTS.weights,
    loss: Annotated[
        str, typer.Option(help='Cross entropy: "exact", or "clipped" as in Keras 2.1.', rich_help_panel=_READINGS)
    ] = _DEFAULTS.loss,
    inputs: Annotated[
        str,
        typer.Option(
            help='Scaling of the images: "unit" for [0, 1], or "standard" for zero mean and unit variance.',
            rich_help_panel=_READINGS,
        ),
    ] = _DEFAULTS.inputs,
    noise: Annotated[
        str,
        typer.Option(
            help='Noise images: "raw", "clipped" to [0, 1], or "8-bit", which is also rounded.',
            rich_help_panel=_READINGS,
        ),
    ] = _DEFAULTS.noise,
    biases: Annotated[
        bool,
        typer.Option(help="Whether the gradient of a layer includes that of its bias.", rich_help_panel=_READINGS),
    ] = _DEFAULTS.biases,
    whole_gradient: Annotated[
        bool,
        typer.Option(
            help="Whether meta classifiers also use the statistics of the whole gradient.",
            rich_help_panel=_READINGS,
        ),
    ] = _DEFAULTS.whole_gradient,
    aupr: Annotated[
        str,
        typer.Option(
            help='Interpolation of precision-recall curves: "step" or "trapezoid".', rich_help_panel=_READINGS
        ),
    ] = _DEFAULTS.aupr,
    initialisations: Annotated[
        int,
        typer.Option(help="Neural meta classifiers per training set and network.", rich_help_panel=_READINGS),
    ] = _DEFAULTS.initialisations,
) -> None:
    """Reproduce the paper: train its networks, measure gradients, fit its meta classifiers, and write its tables.

    If the command is interrupted, run it again: it continues where it stopped. A finished study is not run
    again; only its report is written again.
    """
    # Imported here so that --help is fast and the other commands do not need the packages of a study.
    from gradmeter.apps.cli.progress import working
    from gradmeter.runs.progress import lone_stage

    with needs_extra("demo", "a study"):
        from gradmeter.research.study.alternatives import MARKDOWN
        from gradmeter.research.study.report import write_documents, write_report
        from gradmeter.research.study.reproduce import Study, reproduce
        from gradmeter.research.study.run import DataSource

    options = StudyOptions(
        runs=runs if runs is not None else RUNS_COMPARED if compare_readings else _DEFAULTS.runs,
        seed=seed,
        padding=padding,
        weight_decay=weight_decay,
        decayed=decayed,
        first_dropout=first_dropout,
        patience=patience,
        max_epochs=max_epochs,
        weights=weights,
        loss=loss,
        inputs=inputs,
        noise=noise,
        biases=biases,
        whole_gradient=whole_gradient,
        aupr=aupr,  # type: ignore[arg-type]  # checked by StudyOptions
        initialisations=initialisations,
    )
    if workers is not None and workers < 1:
        raise InputError(f"workers={workers}; expected at least 1")
    name = out.resolve().name if out else Path(data).resolve().name if Path(data).is_dir() else data
    command = typed_command()
    folder = out or Path("runs") / (f"{name}-readings" if compare_readings else name)
    source = DataSource(data, root, download, noise)
    study = Study(encode_name(name), command, source, options, folder, compare_readings)
    default_workers = options.runs if engine is Engine.ray else available_cores()
    console = Terminal(stderr=True, quiet=quiet)
    with working(study.folder):
        has_changed = reproduce(study, workers=workers or default_workers, console=console, fresh=fresh, engine=engine)
        if compare_readings:
            report = folder / MARKDOWN
        else:
            with lone_stage(console, "writing the report"):
                write_documents(study.folder)
                report = write_report(study.folder)
    outcome = "The study is finished." if has_changed else "The study was already finished."
    Terminal().say(f"{outcome} Report: {report}")
