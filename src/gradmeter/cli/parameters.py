"""Arguments that several commands share, and what they are read into."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradmeter.errors import DataError, InputError

_PREPROCESSING = "Preprocessing, by default the model's own"

Model = Annotated[
    str,
    typer.Argument(
        help="timm:NAME, torchvision:NAME, hf:NAME_OR_FOLDER, or package.module:function, whose code is run.",
        show_default=False,
    ),
]
Data = Annotated[
    str,
    typer.Argument(
        help="A folder of images or of one folder for each class, an .npz archive, a Parquet file or a folder of them, "
        "or noise:uniform, noise:normal.",
        show_default=False,
    ),
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
        help="Of the pixels in [0, 1]: one number, or one for each channel, separated by commas.",
        rich_help_panel=_PREPROCESSING,
        show_default=False,
    ),
]
Std = Annotated[
    str | None,
    typer.Option(help="Likewise, the standard deviation.", rich_help_panel=_PREPROCESSING, show_default=False),
]
Grey = Annotated[bool, typer.Option("--grey", help="One channel, not three.", rich_help_panel=_PREPROCESSING)]
Device = Annotated[
    str | None, typer.Option(help="Where the network runs; by default a GPU where there is one.", show_default=False)
]
Workers = Annotated[int, typer.Option(help="Processes that read and decode ahead; 0 for none.", min=0)]


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
    """Names separated by commas, or the lines of a file.

    Raises:
        DataError: if the file cannot be read.
    """
    path = Path(text)
    if "," in text or not path.is_file():
        return tuple(name.strip() for name in text.split(",") if name.strip())
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error}); expected one name in each line") from error
