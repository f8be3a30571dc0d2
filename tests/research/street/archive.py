"""Small drawn streets in the form of camvid.npz."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES = ("sky", "road", "car", "pedestrian", "bicyclist")
VOID = len(CLASSES)
_COLOURS = np.array([(150, 190, 230), (120, 120, 125), (200, 40, 40), (230, 200, 40), (60, 160, 60), (0, 0, 0)])
_HEIGHT, _WIDTH = 24, 32


def scenes(count: int, random: np.random.Generator, *, decoys: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Noisy images [n, H, W, 3] and their classes [n, H, W]; decoys look like cars and are none."""
    labels = np.zeros((count, _HEIGHT, _WIDTH), np.uint8)
    for scene in labels:
        horizon = random.integers(8, 12)
        scene[horizon:] = CLASSES.index("road")
        for name in CLASSES[2:]:
            y, x = random.integers(horizon, _HEIGHT - 6), random.integers(0, _WIDTH - 8)
            scene[y : y + 5, x : x + random.integers(4, 8)] = CLASSES.index(name)
        scene[:, -1] = VOID
    colours = labels.copy()
    if decoys:
        colours[:, 1:6, 3:9] = CLASSES.index("car")
        colours[::2, 2:7, 18:23] = CLASSES.index("car")
    noisy = _COLOURS[colours] + random.normal(0, 25, (*labels.shape, 3))
    return noisy.clip(0, 255).astype(np.uint8), labels


def write_street(folder: Path, **changes: object) -> Path:
    """Write camvid.npz, with changed arrays if they are given, or without those that are None."""
    random = np.random.default_rng(0)
    arrays: dict[str, object] = {"class_names": np.array(CLASSES)}
    for split, count in (("train", 24), ("val", 10), ("test", 18)):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = scenes(count, random, decoys=split != "train")
    arrays |= changes
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "camvid.npz", **{name: value for name, value in arrays.items() if value is not None})  # type: ignore[arg-type]
    return folder
