"""Heatmaps: one number per pixel, over a pale grey copy of the image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator
from numpy.typing import NDArray

from gradmeter.errors import InputError
from gradmeter.report.figures.style import styled

# Its lightness grows with the value for all readers, colour-blind ones included.
COLOURS = "cividis"
# Share of the colour in the mixture with the image.
_OPACITY = 0.75
# Values beyond these percentiles have the colours at the ends of the scale.
_PERCENTILES = (1, 99)
# Values this many powers of ten below the largest one are not told apart.
_DECADES = 12
_INCHES = 4.2
# Leading digits of the numbers at a scale, from few to many.
_DIGITS = ((1,), (1, 3), (1, 2, 5), range(1, 10))
_LEAST_TICKS, _MOST_TICKS = 3, 7

Pixels = NDArray[np.float64]


def heatmap(
    image: NDArray[np.uint8], maps: Mapping[str, Pixels], *, limits: tuple[float, float] | None = None
) -> Figure:
    """Draw an image and, beside it, maps of values over it, each with its scale, which is logarithmic.

    Args:
        image: [H, W, 3], or [H, W] for a grey image.
        maps: title -> values [h, w] of at least 0, of the same view.
        limits: the smallest and the largest value of the scales; by default the 1st and 99th percentile of each map.

    Raises:
        InputError: if there are no maps, if values are negative or not finite, or if the limits are not positive and
            increasing.
    """
    if not maps:
        raise InputError("no maps; expected {title: values [h, w]}")
    for title, values in maps.items():
        if values.ndim != 2 or not np.isfinite(values).all() or (values < 0).any():
            raise InputError(f"map {title!r} of shape {values.shape}; expected finite values [h, w] of at least 0")
    if limits is not None and not 0 < limits[0] < limits[1]:
        raise InputError(f"limits {limits[0]:g} and {limits[1]:g}; expected two positive numbers, the smaller first")
    height, width = image.shape[:2]
    with styled():
        # Each panel as wide as an image of common shape, and as high as this one.
        figure = Figure(((1 + len(maps)) * _INCHES, min(3.0, height / width) * _INCHES + 0.9), layout="constrained")
        panels = figure.subplots(1, 1 + len(maps), squeeze=False)[0]
        extent = (0.0, float(width), float(height), 0.0)
        panels[0].imshow(image, cmap="gray", extent=extent)
        panels[0].set_title("image")
        for axes, (title, values) in zip(panels[1:], maps.items(), strict=True):
            low, high = limits or _limits(values)
            decades = np.log10(np.clip(values, low, high))
            axes.imshow(_grey(image), cmap="gray", vmin=0, vmax=1, extent=extent)
            shown = axes.imshow(
                decades,
                cmap=COLOURS,
                norm=Normalize(np.log10(low), np.log10(high)),
                alpha=_OPACITY,
                extent=extent,
                interpolation="nearest",
            )
            axes.set_title(title)
            bar = figure.colorbar(shown, ax=axes, location="bottom", shrink=0.9)
            ticks = _ticks(low, high)
            bar.locator = FixedLocator(np.log10(ticks).tolist())
            bar.formatter = FixedFormatter([f"{tick:.3g}" for tick in ticks])
            bar.update_ticks()
        for axes in panels:
            axes.set_axis_off()
            # At the same height, with and without a scale below.
            axes.set_anchor("N")
    return figure


def _limits(values: Pixels) -> tuple[float, float]:
    """Limits of a logarithmic scale: percentiles, or one decade if all values are equal."""
    low, high = (float(limit) for limit in np.percentile(values, _PERCENTILES))
    if high <= 0:
        return 0.1, 1.0
    low = max(low, high * 10.0**-_DECADES)
    return (low, high) if low < high else (high / 10, high)


def _ticks(low: float, high: float) -> Pixels:
    """Round numbers on a logarithmic scale: powers of ten, and as many between as are needed for three."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for digits in _DIGITS:
        numbers = np.outer(powers, digits).ravel()
        inside = numbers[(numbers >= low) & (numbers <= high)]
        if len(inside) >= _LEAST_TICKS:
            return inside[:: -(-len(inside) // _MOST_TICKS)]
    return np.geomspace(low, high, _LEAST_TICKS)


def _grey(image: NDArray[np.uint8]) -> Pixels:
    """A pale grey copy of an image, [H, W]."""
    levels = image.astype(np.float64) / 255
    grey = levels @ (0.299, 0.587, 0.114) if levels.ndim == 3 else levels
    return np.asarray(0.3 + 0.7 * grey)
