"""gradmeter gain: what gradients add to what one forward pass shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradmeter.apps.cli.command import needs_extra
from gradmeter.apps.cli.parameters import Quiet
from gradmeter.apps.cli.terminal import Terminal, typed_command


def gain(
    data: Annotated[
        Path, typer.Option(help="Folder of .npz archives, as for gradmeter reproduce.", show_default=False)
    ],
    networks: Annotated[
        Path | None, typer.Option(help="Folder of trained ResNets for CIFAR-10 (.safetensors).", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder.")] = Path("runs/gain"),
    subject: Annotated[
        list[str] | None,
        typer.Option(
            help="Kind of network, e.g. resnet20 or texts. Repeat the option for several (default: all).",
            show_default=False,
        ),
    ] = None,
    share: Annotated[
        float, typer.Option(help="Share of the validation and test inputs to use, of each data set.")
    ] = 1.0,
    workers: Annotated[
        int, typer.Option(help="Networks in parallel; with more than one, the measured times are unreliable.", min=1)
    ] = 1,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Fit all judges again, to the networks and readings that exist.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Measure what gradients add to a forward pass, for many networks and kinds of input, and write gradients.md.

    If the command is interrupted, run it again: it continues where it stopped.
    """
    # Imported here so that --help is fast and the other commands do not need the packages of an experiment.
    from gradmeter.apps.cli.progress import working

    with needs_extra("compare", "an experiment"):
        from gradmeter.research.gradient_gain.experiment import GainExperiment, run_experiment
        from gradmeter.research.gradient_gain.subjects import SUBJECTS

    experiment = GainExperiment(typed_command(), data, networks, tuple(subject or SUBJECTS), share)
    with working(out):
        page = run_experiment(experiment, out, workers=workers, console=Terminal(stderr=True, quiet=quiet), fresh=fresh)
    Terminal().say(f"The experiment is finished. Results: {page}")
