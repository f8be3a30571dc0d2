"""Grey crops of the two photographs that scikit-learn ships."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gradmeter.errors import DataError
from gradmeter.research.study.data.concept import SIDE, Concept
from gradmeter.research.study.data.extras import package_folder

PHOTOGRAPHS = ("china.jpg", "flower.jpg")
# Shrinking factors: crops show petals and tiles, up to half a photograph, as CIFAR-10 shows whole objects.
_SHRINK = (2, 4, 8)
# Crops with a smaller standard deviation of grey levels (sky, shade) are skipped: CIFAR-10 has hardly any.
_MIN_CONTRAST = 10.0


def crops(name: str, count: int, seed: int) -> Concept:
    """Cut `count` different 28x28 crops, spread evenly over the photographs and three scales.

    Crops may overlap; nearly flat crops are skipped.

    Args:
        name: role of the concept.
        count: number of images.
        seed: seed of the positions.

    Raises:
        DataError: Pillow is missing or a photograph cannot be read.
    """
    package_folder("PIL", "demo")
    generator = np.random.default_rng(seed)
    greys = [grey for photograph in PHOTOGRAPHS for grey in _scales(photograph)]
    shares = np.diff(np.linspace(0, count, len(greys) + 1).astype(int))
    return Concept(name, np.concatenate([_cut(grey, n, generator) for grey, n in zip(greys, shares, strict=True)]))


def _scales(photograph: str) -> list[npt.NDArray[np.uint8]]:
    """Return the photograph in grey (ITU-R BT.601 luma, as Pillow's mode L) at each scale."""
    from PIL import Image

    path = package_folder("sklearn", "demo") / "datasets" / "images" / photograph
    try:
        with Image.open(path) as image:
            grey = image.convert("L")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); run: pip install --force-reinstall scikit-learn") from error
    return [np.asarray(grey.reduce(factor)) for factor in _SHRINK]


def _cut(grey: npt.NDArray[np.uint8], count: int, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    windows = np.lib.stride_tricks.sliding_window_view(grey, (SIDE, SIDE))
    rows, columns = np.unravel_index(
        # Three candidates per crop suffice: more than half of all windows have enough contrast.
        generator.choice(windows.shape[0] * windows.shape[1], 3 * count, replace=False),
        windows.shape[:2],
    )
    candidates = windows[rows, columns]
    contrasted: npt.NDArray[np.bool_] = candidates.std(axis=(1, 2)) >= _MIN_CONTRAST
    return candidates[contrasted][:count]
