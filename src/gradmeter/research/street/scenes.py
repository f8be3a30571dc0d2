"""The street scenes of camvid.npz, and what a network learns of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.errors import DataError
from gradmeter.sources.samples.npz import read_arrays

ARCHIVE = "camvid.npz"
"""Name of the archive in the folder of data."""
SPLITS = ("train", "val", "test")
UNLEARNED = ("pedestrian", "bicyclist")
"""Classes that the second network never sees: void in its training scenes, anomalies in the test scenes."""
# Scenes that a network reads at a time.
_BATCH = 8


@dataclass(frozen=True, eq=False)
class Scenes:
    """Images with a class for every pixel.

    Attributes:
        images: [n, H, W, 3] uint8.
        labels: [n, H, W] uint8.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)

    def batches(self) -> Iterator[tuple[Tensor, NDArray[np.uint8]]]:
        """Iterate over inputs [b, 3, H, W] float32 in [0, 1], with the labels [b, H, W]."""
        for start in range(0, len(self), _BATCH):
            rows = slice(start, start + _BATCH)
            yield as_inputs(self.images[rows]), self.labels[rows]


@dataclass(frozen=True, eq=False)
class Street:
    """Scenes for training, validation and test.

    Attributes:
        train, val, test: the scenes.
        classes: names of the classes; the label `void` stands for pixels without a class.
    """

    train: Scenes
    val: Scenes
    test: Scenes
    classes: tuple[str, ...]

    @property
    def void(self) -> int:
        """The label of pixels that have no class."""
        return len(self.classes)

    @property
    def unlearned(self) -> tuple[int, ...]:
        """The labels of the classes in `UNLEARNED`, which are the last ones."""
        return tuple(self.classes.index(name) for name in UNLEARNED)


@dataclass(frozen=True)
class Lesson:
    """What a network learns.

    Attributes:
        name: of the lesson, in names of files.
        unlearned: labels that are void in training.
        classes: number of classes that the network predicts.
    """

    name: str
    unlearned: tuple[int, ...]
    classes: int

    def without_unlearned(self, labels: NDArray[np.uint8], void: int) -> NDArray[np.uint8]:
        """Return labels in which the unlearned classes are void."""
        return np.where(np.isin(labels, self.unlearned), np.uint8(void), labels)


ALL, PART = "all", "part"
TITLES = {ALL: "all classes", PART: f"all classes but {' and '.join(UNLEARNED)}"}
"""The lessons, by name."""


def lessons(street: Street) -> dict[str, Lesson]:
    """Return both lessons by name."""
    count, unlearned = len(street.classes), street.unlearned
    return {
        ALL: Lesson(ALL, (), count),
        PART: Lesson(PART, unlearned, count - len(unlearned)),
    }


def as_inputs(images: NDArray[np.uint8]) -> Tensor:
    """Return images [n, H, W, 3] as inputs of a network, [n, 3, H, W] float32 in [0, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def load_street(folder: Path) -> Street:
    """Return the scenes of `ARCHIVE`.

    Args:
        folder: the folder that holds it.

    Raises:
        DataError: if it is missing, damaged, or not of the expected form.
    """
    path = folder / ARCHIVE
    expected = "expected train_, val_ and test_images [n, H, W, 3] and labels [n, H, W], uint8, and class_names"
    if not path.is_file():
        raise DataError(f"{folder} does not hold {ARCHIVE}; give the folder of it as --data")
    names = [f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")]
    arrays = read_arrays(path, [*names, "class_names"])
    try:
        scenes = {split: _scenes(arrays, split) for split in SPLITS}
        classes = tuple(str(name) for name in arrays["class_names"])
    except KeyError as error:
        raise DataError(f"{path} has no array {error}; {expected}") from error
    except ValueError as error:
        raise DataError(f"{path} cannot be used ({error}); {expected}") from error
    street = Street(scenes["train"], scenes["val"], scenes["test"], classes)
    _check(street, path)
    return street


def _scenes(arrays: Mapping[str, NDArray[np.uint8]], split: str) -> Scenes:
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    if images.dtype != np.uint8 or labels.dtype != np.uint8 or images.shape != (*labels.shape, 3) or labels.ndim != 3:
        raise ValueError(f"{split}: images {images.dtype} {images.shape} and labels {labels.dtype} {labels.shape}")
    return Scenes(images, labels)


def _check(street: Street, path: Path) -> None:
    if street.classes[-len(UNLEARNED) :] != UNLEARNED:
        raise DataError(f"{path} has the classes {', '.join(street.classes)}; expected {' and '.join(UNLEARNED)} last")
    for split, scenes in zip(SPLITS, (street.train, street.val, street.test), strict=True):
        if len(scenes) < 2 or scenes.labels.max() > street.void:
            raise DataError(
                f"{path}: {len(scenes)} {split} scenes with labels up to {scenes.labels.max(initial=0)}; expected at "
                f"least 2 and labels up to {street.void}"
            )
        missing = set(range(street.void)) - set(np.unique(scenes.labels).tolist())
        if missing:
            raise DataError(f"{path}: no pixel of class {street.classes[min(missing)]} in the {split} scenes")
