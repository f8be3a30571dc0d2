"""gradmeter label-study: how well wrong labels are found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.command import needs_extra
from gradmeter.apps.cli.parameters import Quiet
from gradmeter.apps.cli.terminal import Terminal, typed_command


def label_study(
    data: Annotated[
        Path, typer.Option(help="Folder of .npz archives, as for gradmeter reproduce.", show_default=False)
    ],
    networks: Annotated[
        Path | None, typer.Option(help="Folder of trained ResNets for CIFAR-10 (.safetensors).", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder.")] = Path("runs/labels"),
    group: Annotated[
        list[str] | None,
        typer.Option(
            help="Networks to study, e.g. digits or resnet-44-56. Repeat the option for several (default: all).",
            show_default=False,
        ),
    ] = None,
    share: Annotated[float, typer.Option(help="Share of the samples to use, of each data set.")] = 1.0,
    workers: Annotated[int, typer.Option(help="Networks in parallel.", min=1)] = 1,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Check all labels again, with the networks and readings that exist.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Plant errors in labels, find them with all scores, and write label_study.md.

    If the command is interrupted, run it again: it continues where it stopped.
    """
    # Imported here so that --help is fast and the other commands do not need the packages of an experiment.
    from gradmeter.apps.cli.progress import working

    with needs_extra("compare", "a study of labels"):
        from gradmeter.research.label_study.study import LabelStudy, run_study
        from gradmeter.research.label_study.subjects import GROUPS

    study = LabelStudy(typed_command(), data, networks, tuple(group or GROUPS), share)
    with working(out):
        page = run_study(study, out, workers=workers, console=Terminal(stderr=True, quiet=quiet), fresh=fresh)
    Terminal().say(f"The study is finished. Results: {page}")
