"""The least and the most stressed images of each concept, with their predicted classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError
from gradmeter.report.figures.mosaic import checked, mosaic, name_rows
from gradmeter.report.figures.style import NARROW_INCHES, styled

GAP = 3
LEADING = 15
INCHES_PER_PIXEL = 0.5 / 28
LABEL_INCHES = 1.4
# Pixels below a row on a narrow screen, for the classes and for the name of the next row.
NARROW_LEADING = 32


@dataclass(frozen=True)
class StressRow:
    """The extreme images of one concept.

    Attributes:
        name: the display name of the concept.
        least: [k, height, width] the images of least stress, in increasing order.
        most: [k, height, width] the images of most stress, in decreasing order.
        least_labels: the k predicted classes of `least`.
        most_labels: the k predicted classes of `most`.
    """

    name: str
    least: ArrayLike
    most: ArrayLike
    least_labels: Sequence[object]
    most_labels: Sequence[object]


def stress(rows: Sequence[StressRow], *, narrow: bool = False) -> Figure:
    """Draw the least and the most stressed images of each concept, with the predicted class below each image.

    Args:
        rows: the concepts.
        narrow: whether the figure is for a narrow screen: the least stressed images are above the most stressed.

    Raises:
        InputError: if there are no rows, images have a wrong shape or different sizes, or an image has no label.
    """
    if not rows:
        raise InputError("no concepts; expected at least one StressRow")
    sides = {
        "least stressed": [(checked(row.name, row.least), row.least_labels) for row in rows],
        "most stressed": [(checked(row.name, row.most), row.most_labels) for row in rows],
    }
    for title, side in sides.items():
        for row, (images, labels) in zip(rows, side, strict=True):
            if len(images) != len(labels):
                raise InputError(
                    f"{row.name!r} has {len(images)} {title} images and {len(labels)} labels; expected a label for each"
                )
    leading = NARROW_LEADING if narrow else LEADING
    pictures = {title: mosaic([images for images, _ in side], GAP, leading) for title, side in sides.items()}
    with styled():
        if narrow:
            figure, panels = _below(list(pictures.values()), leading)
        else:
            figure, panels = _beside(list(pictures.values()))
        for axes, (title, side) in zip(panels, sides.items(), strict=True):
            axes.imshow(pictures[title], cmap="gray", vmin=0, vmax=1, interpolation="none")
            axes.set_title(title, pad=20 if narrow else None)
            _write_classes(axes, side, leading)
        height = sides["most stressed"][0][0].shape[1]
        names = [row.name for row in rows]
        if narrow:
            for axes in panels:
                name_rows(axes, names, height + leading)
        else:
            panels[0].set_yticks([index * (height + LEADING) + height / 2 for index in range(len(rows))], labels=names)
            panels[1].set_yticks([])
    return figure


def _beside(pictures: Sequence[NDArray[np.float64]]) -> tuple[Figure, Sequence[Axes]]:
    ratios = [picture.shape[1] for picture in pictures]
    tall = (pictures[1].shape[0] + LEADING) * INCHES_PER_PIXEL
    figure = Figure((sum(ratios) * INCHES_PER_PIXEL + LABEL_INCHES + 0.3, tall + 0.35), layout="constrained")
    return figure, list(figure.subplots(1, 2, width_ratios=ratios, squeeze=False).flat)


def _below(pictures: Sequence[NDArray[np.float64]], leading: int) -> tuple[Figure, Sequence[Axes]]:
    tall = [(picture.shape[0] + leading) * NARROW_INCHES / picture.shape[1] for picture in pictures]
    figure = Figure((NARROW_INCHES, sum(tall) + 1.0), layout="constrained")
    return figure, list(figure.subplots(2, 1, height_ratios=tall, squeeze=False).flat)


def _write_classes(axes: Axes, side: Sequence[tuple[NDArray[np.float64], Sequence[object]]], leading: int) -> None:
    height, width = side[0][0].shape[1:]
    for index, (_, labels) in enumerate(side):
        below = index * (height + leading) + height + 1
        for place, label in enumerate(labels):
            axes.text(place * (width + GAP) + width / 2, below, str(label), ha="center", va="top", fontsize=7.5)
    # Make room for the classes below the last row; the picture ends above them.
    axes.set_ylim(len(side) * (height + leading) - 0.5, -0.5)
    axes.set_xticks([])
    axes.tick_params(length=0, labelsize=9, pad=6)
    axes.spines[:].set_visible(False)
