"""Write a figure as SVG and PNG, whole or not at all, and the same bytes every time; read it back for a page."""

import base64
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from matplotlib.figure import Figure

from gradmeter.files import whole
from gradmeter.report.figures.style import styled

DOTS_PER_INCH = 180
NARROW = "-narrow"
"""What the names of figures for narrow screens end in."""
# Dates and versions of the drawing program would change the bytes from run to run.
METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}

_PATH = re.compile(r'<path[^>]* d="[^"]*"')
_NUMBER = re.compile(r"-?\d+\.\d+")


def save(figure: Figure, stem: Path) -> None:
    """Write a figure to stem.svg and stem.png.

    Args:
        figure: the figure to write.
        stem: the path without its ending; missing folders are made.

    Raises:
        OutputError: the folder cannot be written.
    """
    for ending, metadata in METADATA.items():
        path = stem.with_name(f"{stem.name}.{ending}")
        with whole(path) as temporary, styled(), warnings.catch_warnings():
            # Matplotlib's font lacks some scripts' characters; a reader of the SVG has others.
            warnings.filterwarnings("ignore", "Glyph .* missing")
            figure.savefig(temporary, format=ending, dpi=DOTS_PER_INCH, metadata=metadata)
            if ending == "svg":
                temporary.write_text(_rounded(temporary.read_text("utf-8")), "utf-8")


def _rounded(svg: str) -> str:
    """Matplotlib draws to a millionth of a point; a hundredth is less than can be seen, in two thirds of the bytes."""
    return _PATH.sub(lambda path: _NUMBER.sub(lambda number: f"{float(number[0]):.2f}", path[0]), svg)


def save_for_screens(draw: Callable[..., Figure], stem: Path) -> None:
    """Write a figure to stem.svg and stem.png, and as it is on a narrow screen to stem-narrow.svg and .png.

    Args:
        draw: a function that returns the figure; narrow=True where it is for a narrow screen.
        stem: as for `save`.

    Raises:
        OutputError: the folder cannot be written.
    """
    save(draw(narrow=False), stem)
    save(draw(narrow=True), stem.with_name(f"{stem.name}{NARROW}"))


def drawings(folder: Path, stems: Iterable[str]) -> dict[str, str]:
    """Stem of a figure, and of what is drawn for narrow screens -> a data URI of its SVG, as far as there is one."""
    paths = {name: folder / f"{name}.svg" for stem in stems for name in (stem, f"{stem}{NARROW}")}
    return {name: _data_uri(path) for name, path in paths.items() if path.is_file()}


def _data_uri(path: Path) -> str:
    # As an image of its own a drawing cannot run scripts, and its style sheet stays out of the page.
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
