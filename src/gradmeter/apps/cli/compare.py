"""gradmeter compare: gradmeter beside the post-hoc detectors of pytorch-ood."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.parameters import Quiet
from gradmeter.apps.cli.terminal import Terminal, typed_command
from gradmeter.errors import InputError


def compare(
    data: Annotated[
        Path, typer.Option(help="Folder of .npz archives, as for gradmeter reproduce.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder.")] = Path("runs/comparison"),
    task: Annotated[
        list[str] | None,
        typer.Option(help="digits, resnet18 or colour; repeat for several; by default all.", show_default=False),
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            help="A detector of pytorch-ood, such as MSP; repeat for several; by default all that apply.",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(help="Largest number of networks per task; by default five, one and five.", show_default=False),
    ] = None,
    share: Annotated[
        float,
        typer.Option(help="Share of the test images to judge, the same of every concept, so that base rates stay."),
    ] = 1.0,
    controls: Annotated[
        bool, typer.Option(help="Also measure what is lost without each part of the judge, on the digits.")
    ] = True,
    workers: Annotated[
        int, typer.Option(help="Networks in parallel; more than one makes the times unreliable.", min=1)
    ] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Judge again with the networks that are there.")] = False,
    quiet: Quiet = False,
) -> None:
    """Compare gradmeter with the detectors of pytorch-ood on networks that are trained here; write benchmark.md.

    If it is killed, run the same command again: it continues where it stopped.
    """
    # The command line starts faster without PyTorch, and works without what a comparison needs.
    from gradmeter.apps.cli.progress import working

    try:
        from gradmeter.research.ood_benchmark.benchmark import DetectionBenchmark
        from gradmeter.research.ood_benchmark.benchmark import compare as run
        from gradmeter.research.ood_benchmark.detectors import DETECTORS
        from gradmeter.research.ood_benchmark.tasks import TASKS
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise InputError(
            f'a comparison needs the package {package}, which is not installed; pip install "gradmeter[compare]"'
        ) from error

    comparison = DetectionBenchmark(
        typed_command(),
        data,
        tuple(task or TASKS),
        tuple(detector or DETECTORS),
        runs,
        share,
        controls,
    )
    with working(out):
        page = run(comparison, out, workers=workers, console=Terminal(stderr=True, quiet=quiet), fresh=fresh)
    Terminal().say(f"Finished. Tables and figures: {page}")
