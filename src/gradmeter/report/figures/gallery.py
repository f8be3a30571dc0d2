"""Figure 1 of the paper: examples of every concept, one row for each."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from gradmeter.errors import InputError
from gradmeter.report.figures.mosaic import checked, mosaic, name_rows
from gradmeter.report.figures.style import NARROW_INCHES, styled

GAP = 3
INCHES_PER_PIXEL = 0.55 / 28
LABEL_INCHES = 1.5
# Examples of each concept on a narrow screen, where names are above their rows.
NARROW_EXAMPLES = 8
NARROW_LEADING = 19


def gallery(concepts: Mapping[str, ArrayLike], *, narrow: bool = False) -> Figure:
    """Draw examples of each concept in one row.

    Args:
        concepts: display name -> grey images [k, height, width] in [0, 1], all of one size; other values are clipped.
        narrow: whether the figure is for a narrow screen: fewer examples.

    Returns:
        The figure (Figure 1 of Oberdiek et al. 2018).

    Raises:
        InputError: if there are no concepts, or images have a wrong shape or different sizes.
    """
    if not concepts:
        raise InputError("no concepts; expected at least one: {name: images}")
    rows = [checked(name, images) for name, images in concepts.items()]
    if narrow:
        rows = [row[:NARROW_EXAMPLES] for row in rows]
    leading = NARROW_LEADING if narrow else GAP
    picture = mosaic(rows, gap=GAP, leading=leading)
    with styled():
        tall, wide = picture.shape
        scale = NARROW_INCHES / wide if narrow else INCHES_PER_PIXEL
        size = (
            (NARROW_INCHES, (tall + leading) * scale) if narrow else (wide * scale + LABEL_INCHES, tall * scale + 0.2)
        )
        figure = Figure(size, layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="none")
        pitch, middle = rows[0].shape[1] + leading, rows[0].shape[1] / 2
        if narrow:
            name_rows(axes, list(concepts), pitch)
        else:
            axes.set_yticks([index * pitch + middle for index in range(len(rows))], labels=list(concepts))
        axes.set_xticks([])
        axes.tick_params(length=0, labelsize=9, pad=6)
        axes.spines[:].set_visible(False)
    return figure
