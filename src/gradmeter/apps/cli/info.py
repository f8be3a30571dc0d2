"""gradmeter info: what is installed, which kernel is in use, and which way the layers of a network are measured."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from gradmeter.apps.cli.parameters import Classes, Grey, ImageSize, Mean, Std, Weights, recipe
from gradmeter.apps.cli.terminal import Terminal
from gradmeter.errors import InputError
from gradmeter.names import printable

if TYPE_CHECKING:
    from gradmeter.reading.costs import Costs
    from gradmeter.sources.models import Classifier

_SAMPLES = 8
_WIDEST = 1_000


def info(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Also show how each layer of this network is measured, and what that costs: timm:NAME, "
            "torchvision:NAME, hf:NAME_OR_FOLDER, or package.module:function, whose code is run.",
            show_default=False,
        ),
    ] = None,
    weights: Weights = None,
    classes: Classes = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    grey: Grey = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show versions, the kernel in use and the number of threads; for MODEL, how each layer is measured.

    The cost of a layer is the time that reading its gradients takes, over that of one plain forward and backward pass
    (T0), both on the CPU with a batch of 8 images of noise.
    """
    given = (weights, classes, image_size, mean, std)
    if model is None and (grey or any(value is not None for value in given)):
        raise InputError("info was given options of a network but no MODEL; expected both, as in: info timm:resnet18")
    # The command line starts faster without PyTorch.
    import torch

    from gradmeter.reading import kernels
    from gradmeter.version import __version__

    facts: dict[str, Any] = {
        "gradmeter": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "kernel": kernels.description(),
        "threads": torch.get_num_threads(),
    }
    costs = None
    if model is not None:
        classifier = recipe(model, weights, classes, image_size, mean, std, grey=grey).open()
        costs = _costs(classifier)
    if as_json:
        record = facts if costs is None else {**facts, "model": {"name": model, **asdict(costs), "rest": costs.rest}}
        typer.echo(json.dumps(record, indent=2))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {value}")
    if costs is not None:
        _show(costs)


def _costs(classifier: Classifier) -> Costs:
    """What it costs to measure noise."""
    from gradmeter.reading.meter import GradientMeter
    from gradmeter.sources.models.answering import explained

    samples: list[Any] = ["a"] * _SAMPLES
    if classifier.image is not None:
        from gradmeter.sources.samples.noise import Noise

        source = Noise(f"noise:uniform:{_SAMPLES}", classifier.image.side, classifier.image.mode)
        samples = [source.read(index).content for index in range(_SAMPLES)]
    batch = classifier.batch(samples)
    with explained(classifier, batch):
        return GradientMeter(classifier.network).costs(batch)


def _show(costs: Costs) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", no_wrap=True)
    table.add_column("operation", no_wrap=True)
    table.add_column("calls", justify="right")
    table.add_column("way")
    table.add_column("parameters", justify="right")
    table.add_column("cost / T0", justify="right")
    unit = costs.plain_seconds
    for cost in costs.layers:
        table.add_row(
            Text(printable(cost.layer)),
            Text(printable(cost.operation)),
            f"{cost.calls:,}",
            cost.way,
            f"{cost.parameters:,}",
            f"{cost.seconds / unit:.3f}",
        )
    table.add_section()
    table.add_row("the network's own passes", "", "", "", "", f"{costs.rest / unit:.3f}")
    table.add_row("in all", "", "", "", "", f"{costs.seconds / unit:.3f}")
    # Names stay whole; a narrow terminal breaks the lines.
    terminal = Terminal()
    terminal.width = _WIDEST
    terminal.print(table)
    terminal.say(f"T0, a plain forward and backward pass of {costs.samples} samples: {1000 * unit:.2f} ms")
