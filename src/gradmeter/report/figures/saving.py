"""Write figures as SVG and PNG, atomically and reproducibly, and read them for HTML pages."""

import base64
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from matplotlib.figure import Figure

from gradmeter.files import atomic_write
from gradmeter.report.figures.style import styled

DOTS_PER_INCH = 180
NARROW = "-narrow"
"""The end of the file names of figures for narrow screens."""
# Without dates and versions, every run writes the same bytes.
METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}

_PATH = re.compile(r'<path[^>]* d="[^"]*"')
_NUMBER = re.compile(r"-?\d+\.\d+")


def save(figure: Figure, stem: Path) -> None:
    """Write a figure to stem.svg and stem.png.

    Args:
        figure: the figure to write.
        stem: the path without suffix; missing folders are created.

    Raises:
        OutputError: if the folder cannot be written.
    """
    for ending, metadata in METADATA.items():
        path = stem.with_name(f"{stem.name}.{ending}")
        with atomic_write(path) as temporary, styled(), warnings.catch_warnings():
            # Matplotlib's font lacks characters of some scripts; viewers of the SVG use other fonts.
            warnings.filterwarnings("ignore", "Glyph .* missing")
            figure.savefig(temporary, format=ending, dpi=DOTS_PER_INCH, metadata=metadata)
            if ending == "svg":
                temporary.write_text(_rounded(temporary.read_text("utf-8")), "utf-8")


def _rounded(svg: str) -> str:
    """Round coordinates to 1/100 point, which is invisible and saves a third of the bytes; Matplotlib writes 1e-6."""
    return _PATH.sub(lambda path: _NUMBER.sub(lambda number: f"{float(number[0]):.2f}", path[0]), svg)


def save_for_screens(draw: Callable[..., Figure], stem: Path) -> None:
    """Write a figure to stem.svg and stem.png, and its version for narrow screens to stem-narrow.svg and .png.

    Args:
        draw: returns the figure; its argument `narrow` tells whether it is for a narrow screen.
        stem: the path without suffix.

    Raises:
        OutputError: if the folder cannot be written.
    """
    save(draw(narrow=False), stem)
    save(draw(narrow=True), stem.with_name(f"{stem.name}{NARROW}"))


def files_of(stem: Path) -> list[Path]:
    """The files that `save_for_screens` writes."""
    return [stem.with_name(f"{stem.name}{width}.{ending}") for width in ("", NARROW) for ending in METADATA]


def drawings(folder: Path, stems: Iterable[str]) -> dict[str, str]:
    """Data URIs of SVG figures by stem, including the versions for narrow screens; missing files are left out."""
    paths = {name: folder / f"{name}.svg" for stem in stems for name in (stem, f"{stem}{NARROW}")}
    return {name: _data_uri(path) for name, path in paths.items() if path.is_file()}


def _data_uri(path: Path) -> str:
    # In an <img>, an SVG cannot run scripts, and its style sheet does not affect the page.
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
