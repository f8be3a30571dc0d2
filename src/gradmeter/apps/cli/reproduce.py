"""gradmeter reproduce: the paper's study in one command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.parameters import Engine, OnEngine, Quiet
from gradmeter.apps.cli.terminal import Terminal, typed_command
from gradmeter.errors import InputError
from gradmeter.names import encode_name
from gradmeter.research.study.options import RUNS_COMPARED, StudyOptions

_DEFAULTS = StudyOptions()
_STUDY, _READINGS, _WORK = "Study", "Readings of the paper", "Work"


def reproduce(
    data: Annotated[
        str,
        typer.Option(
            help='Images: "embedded" (real digits that come with the installation), a folder of .npz archives, or '
            '"emnist" (the paper\'s own, through torchvision).',
            rich_help_panel=_STUDY,
        ),
    ] = "embedded",
    root: Annotated[
        Path | None, typer.Option(help="With --data emnist: the folder of the data sets.", rich_help_panel=_STUDY)
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="With --data emnist: fetch what is missing.", rich_help_panel=_STUDY)
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Output folder; by default runs/ and the data's name.", rich_help_panel=_STUDY)
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(
            help=f"Networks, each with its own split and seeds; {_DEFAULTS.runs} by default, with --compare-readings "
            f"{RUNS_COMPARED} for each reading.",
            rich_help_panel=_STUDY,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.", rich_help_panel=_STUDY)] = (_DEFAULTS.seed),
    compare_readings: Annotated[
        bool,
        typer.Option(
            "--compare-readings",
            help="Instead of the study: train networks by each reading that the paper leaves open, and compare with "
            "the paper what their softmax and entropy give.",
            rich_help_panel=_STUDY,
        ),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over, even if --out holds a study.", rich_help_panel=_WORK)
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Runs in parallel, by default one per core, on Ray all; the tables do not depend on it.",
            rich_help_panel=_WORK,
        ),
    ] = None,
    engine: OnEngine = Engine.local,
    quiet: Quiet = False,
    padding: Annotated[
        str, typer.Option(help='Of the convolutions: "valid" or "same" (A13).', rich_help_panel=_READINGS)
    ] = _DEFAULTS.padding,
    weight_decay: Annotated[
        float, typer.Option(help="Of kernels; an L2 penalty c * sum(w^2) is 2c (A14).", rich_help_panel=_READINGS)
    ] = _DEFAULTS.weight_decay,
    decayed: Annotated[
        str, typer.Option(help='Kernels that decay: "all", "convolutions" or "dense" (A14).', rich_help_panel=_READINGS)
    ] = _DEFAULTS.decayed,
    first_dropout: Annotated[
        str, typer.Option(help='"after" the first pooling or "before" it (A15).', rich_help_panel=_READINGS)
    ] = _DEFAULTS.first_dropout,
    patience: Annotated[
        int,
        typer.Option(help="Epochs without a better network before the rate falls (A16).", rich_help_panel=_READINGS),
    ] = _DEFAULTS.patience,
    max_epochs: Annotated[
        int, typer.Option(help="Epochs after which training ends in any case (A16).", rich_help_panel=_READINGS)
    ] = _DEFAULTS.max_epochs,
    weights: Annotated[
        str, typer.Option(help='Of the "last" or the "best" epoch (A16).', rich_help_panel=_READINGS)
    ] = _DEFAULTS.weights,
    loss: Annotated[
        str, typer.Option(help='"exact", or "clipped" as in Keras 2.1 (A21).', rich_help_panel=_READINGS)
    ] = _DEFAULTS.loss,
    inputs: Annotated[
        str, typer.Option(help='"unit", in [0, 1], or "standard"ised (A11).', rich_help_panel=_READINGS)
    ] = _DEFAULTS.inputs,
    noise: Annotated[
        str,
        typer.Option(
            help='Noise "raw", "clipped" to [0, 1], or "8-bit", also rounded (R13).', rich_help_panel=_READINGS
        ),
    ] = _DEFAULTS.noise,
    biases: Annotated[
        bool, typer.Option(help="Whether a layer's gradient includes its bias (A1).", rich_help_panel=_READINGS)
    ] = _DEFAULTS.biases,
    whole_gradient: Annotated[
        bool,
        typer.Option(
            help="Whether meta classifiers also see the metrics of the whole gradient (A7).",
            rich_help_panel=_READINGS,
        ),
    ] = _DEFAULTS.whole_gradient,
    aupr: Annotated[
        str, typer.Option(help='Area under PR curves: "step" or "trapezoid" (A9).', rich_help_panel=_READINGS)
    ] = _DEFAULTS.aupr,
    initialisations: Annotated[
        int, typer.Option(help="Neural meta classifiers per training set and network (A10).", rich_help_panel=_READINGS)
    ] = _DEFAULTS.initialisations,
) -> None:
    """Reproduce the paper: train its networks, measure every gradient, fit every meta classifier, write all tables.

    If it is killed, run the same command again: it continues where it stopped. A finished
    study is left as it is.
    """
    # What only a study needs is loaded here: the library and --help do without it.
    from gradmeter.apps.cli.progress import working
    from gradmeter.runs.progress import lone_stage

    try:
        from gradmeter.research.study.alternatives import MARKDOWN
        from gradmeter.research.study.report import write_documents, write_report
        from gradmeter.research.study.reproduce import Study, reproduce
        from gradmeter.research.study.run import DataSource
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise InputError(
            f'a study needs the package {package}, which is not installed; pip install "gradmeter[demo]"'
        ) from error

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
    most = options.runs if engine is Engine.ray else os.cpu_count() or 1
    progress = Terminal(stderr=True, quiet=quiet)
    with working(study.folder):
        changed = reproduce(study, workers=workers or most, console=progress, fresh=fresh, engine=engine)
        if compare_readings:
            report = folder / MARKDOWN
        else:
            with lone_stage(progress, "writing the report"):
                write_documents(study.folder)
                report = write_report(study.folder)
    Terminal().say(f"{'Finished' if changed else 'Finished before; nothing to do'}. Report: {report}")
