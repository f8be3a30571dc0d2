"""Lay images side by side in one picture, so that a figure embeds one bitmap and not hundreds."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError

WHITE = 1.0


def checked(name: str, images: ArrayLike) -> NDArray[np.float64]:
    """Return the images of one concept as float64 [k, height, width], values cut to [0, 1].

    Raises:
        InputError: the array is not three-dimensional, holds no image, or holds values that are not finite.
    """
    array = np.asarray(images, dtype=np.float64)
    if array.ndim != 3 or array.size == 0:
        raise InputError(
            f"images of {name!r} have shape {array.shape}; expected [k, height, width] with k >= 1: pass grey images"
        )
    if not np.isfinite(array).all():
        raise InputError(f"images of {name!r} hold NaN or infinity; expected grey values in [0, 1]: clean them first")
    # Normal noise leaves [0, 1] on purpose; a grey scale cannot show more than black and white.
    return array.clip(0.0, 1.0)


def mosaic(rows: Sequence[NDArray[np.float64]], gap: int, leading: int) -> NDArray[np.float64]:
    """Join rows of images into one picture on white.

    Args:
        rows: one array [k, height, width] per row; all of the same height and width, k may differ.
        gap: white pixels between neighbours in a row.
        leading: white pixels below each row, the last excepted.

    Returns:
        [rows * (height + leading) - leading, widest * (width + gap) - gap] grey values in [0, 1].

    Raises:
        InputError: the rows hold images of different sizes.
    """
    sizes = {row.shape[1:] for row in rows}
    if len(sizes) != 1:
        raise InputError(f"images of sizes {sorted(sizes)} in one figure; expected one size: resize them to the same")
    (height, width), widest = sizes.pop(), max(len(row) for row in rows)
    picture = np.full((len(rows) * (height + leading) - leading, widest * (width + gap) - gap), WHITE)
    for index, row in enumerate(rows):
        top = index * (height + leading)
        for place, image in enumerate(row):
            left = place * (width + gap)
            picture[top : top + height, left : left + width] = image
    return picture


def name_rows(axes: Axes, names: Sequence[str], pitch: int) -> None:
    """Write the name of each row above it.

    Args:
        axes: that show a mosaic.
        names: of its rows.
        pitch: pixels from one row to the next.
    """
    axes.set_yticks([])
    for index, name in enumerate(names):
        axes.annotate(name, (0, index * pitch), (0, 3), textcoords="offset points", fontsize=9, va="bottom")
