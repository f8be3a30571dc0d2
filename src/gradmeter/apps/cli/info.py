"""gradmeter info: show versions, the kernel in use, and how each layer of a network is measured."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, replace
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
    from gradmeter.sources.models import Classifier, Recipe

_SAMPLES = 8


def info(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A network whose layers to show: timm:NAME, torchvision:NAME, hf:NAME_OR_FOLDER, or "
            "package.module:function, whose code is run.",
            show_default=False,
        ),
    ] = None,
    weights: Weights = None,
    classes: Classes = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    grey: Grey = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="An .npz archive of arrays that the network takes as they are, for a network that takes no images and "
            "no texts.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Show versions, the kernel in use and the number of threads; with MODEL, also how each layer is measured.

    The cost of a layer is the time to measure its gradients divided by T0, the time of one plain forward and backward
    pass, both on the CPU with a batch of 8 samples (noise for networks of images or arrays).
    """
    options = (weights, classes, image_size, mean, std, data)
    if model is None and (grey or any(value is not None for value in options)):
        raise InputError("options of a network are given without MODEL; give both, as in: gradmeter info timm:resnet18")
    # Imported here so that --help does not wait for PyTorch. NumPy comes first, because PyTorch imports it, too, but
    # goes on without it after Ctrl-C.
    import numpy  # noqa: F401
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
        opened = recipe(model, weights, classes, image_size, mean, std, grey=grey)
        classifier = (opened if data is None else _for_arrays(opened, data)).open()
        costs = _costs(classifier)
    if as_json:
        record = facts if costs is None else {**facts, "model": {"name": model, **asdict(costs), "rest": costs.rest}}
        typer.echo(json.dumps(record, indent=2))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {value}")
    if costs is not None:
        _print_costs(costs)


def _for_arrays(opened: Recipe, data: str) -> Recipe:
    """The recipe for a network that takes the arrays of DATA.

    Raises:
        InputError: if DATA holds no such arrays.
        DataError: if DATA does not exist or is damaged.
    """
    from gradmeter.sources.samples import arrays_of

    if (arrays := arrays_of(data)) is None:
        raise InputError(f"--data {data}; expected an .npz archive with the array 'inputs'")
    return replace(opened, arrays=arrays)


def _costs(classifier: Classifier) -> Costs:
    """Measure the cost of each layer on a batch of noise, or of short texts."""
    from gradmeter.reading.meter import GradientMeter
    from gradmeter.sources.models.answering import explained

    samples: list[Any] = ["a"] * _SAMPLES
    if classifier.arrays is not None:
        samples = list(classifier.arrays.noise(_SAMPLES))
    if classifier.image is not None:
        from gradmeter.sources.samples.noise import Noise

        source = Noise(f"noise:uniform:{_SAMPLES}", classifier.image.side, classifier.image.mode)
        samples = [source.read(index).content for index in range(_SAMPLES)]
    batch = classifier.batch(samples)
    with explained(classifier, batch):
        return GradientMeter(classifier.network).costs(batch)


def _print_costs(costs: Costs) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column("operation", overflow="fold")
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
    table.add_row("total", "", "", "", "", f"{costs.seconds / unit:.3f}")
    terminal = Terminal()
    terminal.show(table)
    terminal.say(
        f"T0, the time of a plain forward and backward pass of {costs.samples} samples, is {1000 * unit:.2f} ms."
    )
