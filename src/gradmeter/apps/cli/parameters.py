"""Arguments and options that several commands share, and their parsing."""

from __future__ import annotations

import codecs
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradmeter.errors import DataError, InputError, one_line
from gradmeter.names import encode_name

if TYPE_CHECKING:
    from gradmeter.sources.models import ImageOptions, Recipe

_PREPROCESSING = "Preprocessing (default: that of the model)"

Model = Annotated[
    str,
    typer.Argument(
        help="The network: timm:NAME, torchvision:NAME, hf:NAME_OR_FOLDER, or package.module:function, whose code is "
        "run.",
        show_default=False,
    ),
]
Segmenter = Annotated[
    str,
    typer.Argument(
        help="The segmentation network: torchvision:NAME, hf:NAME_OR_FOLDER, or package.module:function, whose code is "
        "run.",
        show_default=False,
    ),
]
Data = Annotated[
    str,
    typer.Argument(
        help="The samples: an image, a folder of images or with one folder per class, an .npz archive of images, or of "
        "arrays that the network takes as they are, or a Parquet file or folder of them, at a path or an address "
        "(s3://BUCKET/FOLDER). noise:uniform and noise:normal generate 1,000 images, noise:uniform:N generates N.",
        show_default=False,
    ),
]
Known = Annotated[
    str,
    typer.Option(
        help="Labelled DATA that the network was not trained on: a folder with one folder per class, an .npz archive, "
        "or Parquet; or the readings of such data, written by gradmeter measure.",
        show_default=False,
    ),
]
Unknown = Annotated[
    list[str] | None,
    typer.Option(
        help="Unknown inputs: DATA of none of the network's classes. Repeat the option for each kind. noise:uniform "
        "generates 1,000 images, noise:uniform:N generates N.",
        show_default=False,
    ),
]
OnePer = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN|REGEX",
        help="Use one sample of each patient, object or scene. It is named by this column of Parquet files or array of "
        "an .npz archive, or by what this regular expression finds in the path of a sample within DATA, as in "
        "'patient[0-9]+'. Samples without a name are all used.",
        show_default=False,
    ),
]
Trust = Annotated[Path, typer.Argument(help="Folder of the TrustModel, written by gradmeter fit.", show_default=False)]
OtherModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="The network, as in gradmeter fit. Required if it is a function; default: the one that TRUST names.",
        show_default=False,
    ),
]
OtherWeights = Annotated[
    Path | None,
    typer.Option("--weights", help="File of the weights, if it has moved since gradmeter fit.", show_default=False),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="File of weights, .safetensors or .pt (default: those published for MODEL).", show_default=False),
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Names of the classes in the order of the network's outputs: separated by commas, or a file with one name "
        "per line.",
        show_default=False,
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        help="Height and width of the network's input in pixels.", rich_help_panel=_PREPROCESSING, show_default=False
    ),
]
PixelLayers = Annotated[
    list[str] | None,
    typer.Option(
        help="Name of a layer, the last ones or the one before. Repeat the option for several (default: the last "
        "layers).",
        show_default=False,
    ),
]
ShorterSide = Annotated[
    int | None,
    typer.Option(
        help="Pixels of the shorter side to which images are resized (default: that of the model, for a function the "
        "image's own).",
        rich_help_panel=_PREPROCESSING,
        show_default=False,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        help="Mean of the pixels in [0, 1]: one number, or one per channel, separated by commas.",
        rich_help_panel=_PREPROCESSING,
        show_default=False,
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        help="Standard deviation of the pixels: one number, or one per channel.",
        rich_help_panel=_PREPROCESSING,
        show_default=False,
    ),
]
Grey = Annotated[
    bool, typer.Option("--grey", help="Convert images to one grey channel.", rich_help_panel=_PREPROCESSING)
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Device of the network, as PyTorch names it: cpu, cuda, cuda:1 (default: a GPU if there is one).",
        show_default=False,
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        help="Processes that read and decode samples ahead, at most one per core; 0: in the main process.", min=0
    ),
]
Actors = Annotated[
    int,
    typer.Option(
        "--workers",
        help="Processes that read and decode samples ahead, at most one per core; 0: in the main process. With "
        "--engine ray: actors that hold the network; 0: one for each core of the cluster, or for each GPU.",
        min=0,
    ),
]


class Reads(StrEnum):
    """What a TrustModel reads of a network."""

    auto = "auto"
    forward = "forward"
    gradients = "gradients"


class Score(StrEnum):
    """Probabilities of a verdict that a risk guarantee can put a threshold on."""

    p_correct = "p_correct"
    p_known = "p_known"
    p_correct_if_known = "p_correct_if_known"


class Engine(StrEnum):
    """Where samples are measured."""

    local = "local"
    ray = "ray"


OnEngine = Annotated[
    Engine,
    typer.Option(
        "--engine",
        help="Where samples are measured: in this process, or on the Ray cluster at RAY_ADDRESS (if it is not set, on "
        "a cluster of this machine's cores).",
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Show no progress. Skipped samples, notes and warnings are still shown."),
]
Repetitions = Annotated[int, typer.Option(help="Bootstrap resamples for the confidence intervals.", min=100)]
AsJson = Annotated[bool, typer.Option("--json", help="Print a summary as JSON instead of text.")]


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
    """Collect the options of a classifier.

    Raises:
        InputError, DataError: if an option has an invalid value.
    """
    from gradmeter.sources.models import Recipe

    options = image_options(image_size, mean, std, grey=grey)
    return Recipe(model, weights, None if classes is None else _class_names(classes), options)


def image_options(image_size: int | None, mean: str | None, std: str | None, *, grey: bool) -> ImageOptions:
    """Collect the options of the preprocessing.

    Raises:
        InputError: if an option has an invalid value.
    """
    from gradmeter.sources.models import ImageOptions

    return ImageOptions(image_size, _numbers("--mean", mean), _numbers("--std", std), grey)


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Parse numbers separated by commas.

    Raises:
        InputError: if `text` is something else.
    """
    if text is None:
        return None
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise InputError(
            f"{option} {text}; expected numbers separated by commas, as in 0.5 or 0.48,0.46,0.41"
        ) from error


def _class_names(text: str) -> tuple[str, ...]:
    """Parse names separated by commas, or read the lines of a file; names are encoded by `encode_name`.

    Raises:
        DataError: if `text` has no comma and is not a readable file.
    """
    from gradmeter.sources.samples.left_out import Kind, kind_of

    expected = "expected names separated by commas, or a file with one name per line"
    if "," in text:
        return tuple(encode_name(name.strip()) for name in text.split(",") if name.strip())
    path = Path(text)
    try:
        kind = kind_of(path) if text else None
        if kind is None:
            raise DataError(f"--classes {text}: there is no such file, and a single name is not a list; {expected}")
        if kind is not Kind.FILE:
            raise DataError(f"--classes {text} is a {kind.value[0]}; {expected}")
        if path.read_bytes().startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(f"--classes {text} is encoded in UTF-16; save it in UTF-8")
        # Class names may come from folder names that are not UTF-8. Only newlines separate names, unlike `splitlines`.
        lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    except OSError as error:
        raise DataError(f"--classes {text} cannot be read ({one_line(error)}); {expected}") from error
    return tuple(encode_name(line.strip()) for line in lines if line.strip())
