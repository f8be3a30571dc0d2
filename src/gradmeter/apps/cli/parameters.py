"""Arguments that several commands share, and what they are read into."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradmeter.errors import DataError, InputError, one_line
from gradmeter.names import encode_name

if TYPE_CHECKING:
    from gradmeter.sources.models import Recipe

_PREPROCESSING = "Preprocessing, by default the model's own"

Model = Annotated[
    str,
    typer.Argument(
        help="timm:NAME, torchvision:NAME, hf:NAME_OR_FOLDER, or package.module:function, whose code runs.",
        show_default=False,
    ),
]
Data = Annotated[
    str,
    typer.Argument(
        help="An image, a folder of images or of one folder for each class, an .npz archive, a Parquet file or a "
        "folder of them, at a path or an address (s3://BUCKET/FOLDER); or noise:uniform, noise:normal: 1,000 images, "
        "noise:uniform:N for N.",
        show_default=False,
    ),
]
Known = Annotated[
    str,
    typer.Option(
        help="Labelled DATA that the network did not learn from: a folder of one folder for each class, an .npz "
        "archive, Parquet; or readings that gradmeter measure made of them.",
        show_default=False,
    ),
]
Unknown = Annotated[
    list[str] | None,
    typer.Option(
        help="Unknown inputs: DATA of none of the network's classes; repeat for each kind. noise:uniform makes 1,000 "
        "images, noise:uniform:N makes N.",
        show_default=False,
    ),
]
Trust = Annotated[Path, typer.Argument(help="Folder that gradmeter fit wrote.", show_default=False)]
OtherModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="MODEL, if it is not the one named in the folder; a function must always be named.",
        show_default=False,
    ),
]
OtherWeights = Annotated[
    Path | None,
    typer.Option("--weights", help="Weights, if the file has moved.", show_default=False),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Weights, .safetensors or .pt; by default those published for MODEL.", show_default=False),
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Names of the model's classes in its order: separated by commas, or a file with one in each line.",
        show_default=False,
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(help="Height and width of the input in pixels.", rich_help_panel=_PREPROCESSING, show_default=False),
]
Mean = Annotated[
    str | None,
    typer.Option(
        help="Mean of the pixels in [0, 1]: one number, or one for each channel, separated by commas.",
        rich_help_panel=_PREPROCESSING,
        show_default=False,
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        help="Standard deviation of the pixels, likewise.", rich_help_panel=_PREPROCESSING, show_default=False
    ),
]
Grey = Annotated[bool, typer.Option("--grey", help="One channel, not three.", rich_help_panel=_PREPROCESSING)]
Device = Annotated[
    str | None, typer.Option(help="Where the network runs; by default a GPU if there is one.", show_default=False)
]
Workers = Annotated[int, typer.Option(help="Processes that read and decode ahead; 0 for none.", min=0)]
Actors = Annotated[
    int,
    typer.Option(
        "--workers",
        help="Processes that read and decode ahead; 0 for none. With --engine ray, actors that hold MODEL; 0 for as "
        "many as the cluster has cores, or GPUs.",
        min=0,
    ),
]


class Engine(StrEnum):
    """Where samples are worked through."""

    local = "local"
    ray = "ray"


OnEngine = Annotated[
    Engine,
    typer.Option(
        "--engine",
        help="This process, or a Ray cluster: the one that RAY_ADDRESS names, else the cores of this machine.",
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Show no progress. Skipped samples and warnings are still shown."),
]
Repetitions = Annotated[int, typer.Option(help="Resamples for the intervals.", min=100)]
AsJson = Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")]


def recipe(
    model: str,
    weights: Path | None,
    classes: str | None,
    image_size: int | None,
    mean: str | None,
    std: str | None,
    *,
    grey: bool,
) -> Recipe:
    """What these arguments say about a classifier.

    Raises:
        InputError, DataError: for values that cannot be.
    """
    from gradmeter.sources.models import ImageOptions, Recipe

    options = ImageOptions(image_size, numbers("--mean", mean), numbers("--std", std), grey)
    return Recipe(model, weights, None if classes is None else names(classes), options)


def numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Numbers separated by commas.

    Raises:
        InputError: for anything else.
    """
    if text is None:
        return None
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise InputError(
            f"{option} {text}; expected numbers separated by commas, as in 0.5 or 0.48,0.46,0.41"
        ) from error


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas, or the lines of a file; encoded by `encode_name`.

    Raises:
        DataError: if there is no such file and it is no list, or it cannot be read.
    """
    from gradmeter.sources.samples.left_out import Kind, kind_of

    expected = "expected names separated by commas, or a file with one name in each line"
    if "," in text:
        return tuple(encode_name(name.strip()) for name in text.split(",") if name.strip())
    path = Path(text)
    try:
        kind = kind_of(path) if text else None
        if kind is None:
            raise DataError(f"--classes {text}: no such file, and one name is no list; {expected}")
        if kind is not Kind.FILE:
            raise DataError(f"--classes {text} is a {kind.value[0]}; {expected}")
        # Names of folders may be no UTF-8; only the end of a line ends a name.
        lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    except OSError as error:
        raise DataError(f"--classes {text} cannot be read ({one_line(error)}); {expected}") from error
    return tuple(encode_name(line.strip()) for line in lines if line.strip())
