"""gradmeter compare: compare gradmeter with the post-hoc detectors of pytorch-ood."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.command import needs_extra
from gradmeter.apps.cli.parameters import Quiet
from gradmeter.apps.cli.terminal import Terminal, typed_command


def compare(
    data: Annotated[
        Path, typer.Option(help="Folder of .npz archives, as for gradmeter reproduce.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder.")] = Path("runs/comparison"),
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Task: digits, resnet18, colour or, with --networks, cifar10. Repeat the option for several "
            "(default: the first three).",
            show_default=False,
        ),
    ] = None,
    networks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of trained networks for the task cifar10: cifar10_resnet20.safetensors, 32, 44 and 56.",
            show_default=False,
        ),
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            help="Detector of pytorch-ood, e.g. MSP. Repeat the option for several (default: all that apply).",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(
            help="Largest number of networks per task (default: 5 for digits, 1 for resnet18, 5 for colour, 4 for "
            "cifar10).",
            show_default=False,
        ),
    ] = None,
    share: Annotated[
        float,
        typer.Option(help="Share of the test images to use, the same for every data set, so that base rates stay."),
    ] = 1.0,
    controls: Annotated[
        bool,
        typer.Option(
            help="Also measure, on the digits, how much each part of the meta classifier contributes, and on cifar10, "
            "whether gradients do."
        ),
    ] = True,
    workers: Annotated[
        int, typer.Option(help="Networks in parallel; with more than one, the measured times are unreliable.", min=1)
    ] = 1,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Compute all scores again, with the networks that are already trained.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train networks, compare gradmeter with the detectors of pytorch-ood on them, and write benchmark.md.

    The task cifar10 does so on networks that others have trained, and writes real.md.

    If the command is interrupted, run it again: it continues where it stopped.
    """
    # Imported here so that --help is fast and the other commands do not need the packages of a comparison.
    from gradmeter.apps.cli.progress import working

    with needs_extra("compare", "a comparison"):
        from gradmeter.research.ood_benchmark.benchmark import DetectionBenchmark
        from gradmeter.research.ood_benchmark.benchmark import compare as run
        from gradmeter.research.ood_benchmark.detectors import DETECTORS
        from gradmeter.research.ood_benchmark.tasks import TASKS

    comparison = DetectionBenchmark(
        typed_command(),
        data,
        tuple(task or TASKS),
        tuple(detector or DETECTORS),
        runs,
        share,
        controls,
        networks,
    )
    with working(out):
        pages = run(comparison, out, workers=workers, console=Terminal(stderr=True, quiet=quiet), fresh=fresh)
    Terminal().say(f"The comparison is finished. Results: {', '.join(map(str, pages))}")
