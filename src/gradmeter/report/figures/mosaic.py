"""Join images to one picture, so that a figure embeds one bitmap instead of hundreds."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError

WHITE = 1.0


def checked(name: str, images: ArrayLike) -> NDArray[np.float64]:
    """Return the images of one concept as float64 [k, height, width], clipped to [0, 1].

    Raises:
        InputError: if the array is not three-dimensional, is empty, or contains values that are not finite.
    """
    array = np.asarray(images, dtype=np.float64)
    if array.ndim != 3 or array.size == 0:
        raise InputError(
            f"images of {name!r} have shape {array.shape}; expected grey images [k, height, width] with k >= 1"
        )
    if not np.isfinite(array).all():
        raise InputError(f"images of {name!r} contain NaN or infinity; expected grey values in [0, 1]")
    # Normal noise has values outside [0, 1], which are shown as black and white.
    return array.clip(0.0, 1.0)


def mosaic(rows: Sequence[NDArray[np.float64]], gap: int, leading: int) -> NDArray[np.float64]:
    """Join rows of images to one picture on white.

    Args:
        rows: one array [k, height, width] for each row; height and width are the same for all, k may differ.
        gap: white pixels between neighbours in a row.
        leading: white pixels below each row except the last.

    Returns:
        Grey values in [0, 1], [rows * (height + leading) - leading, widest * (width + gap) - gap].

    Raises:
        InputError: if the images have different sizes.
    """
    sizes = {row.shape[1:] for row in rows}
    if len(sizes) != 1:
        raise InputError(f"images of sizes {sorted(sizes)} in one figure; expected one size: resize them")
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
        axes: the axes that show a mosaic.
        names: the names of its rows.
        pitch: the pixels from one row to the next.
    """
    axes.set_yticks([])
    for index, name in enumerate(names):
        axes.annotate(name, (0, index * pitch), (0, 3), textcoords="offset points", fontsize=9, va="bottom")
