"""Write a figure as SVG and PNG, whole or not at all, and the same bytes every time."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure

from gradmeter.figures.style import styled
from gradmeter.files import whole

DOTS_PER_INCH = 180
# Dates and versions of the drawing program would change the bytes from run to run.
METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


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
