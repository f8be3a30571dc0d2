"""Inputs with their classes, read from the archives and drawn into disjoint parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.errors import DataError
from gradmeter.research.study.data.archives import require_labels
from gradmeter.research.study.data.concept import SIDE
from gradmeter.sources.samples.npz import read_arrays

_SIDE = 32
_SEED = 0


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs [n, ...] of a network and their classes [n] int64; -1 for no class."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Return the number of inputs."""
        return len(self.inputs)

    def rows(self, selected: slice | NDArray[np.intp]) -> Samples:
        """Select inputs by their indices."""
        index = selected if isinstance(selected, slice) else torch.from_numpy(selected)
        return Samples(self.inputs[index], self.labels[index])


@dataclass(frozen=True)
class Form:
    """What an archive holds.

    Attributes:
        shape: of an image.
        classes: number of classes; None if the labels are not used.
    """

    shape: tuple[int, ...]
    classes: int | None = None


FORMS = {
    "cifar10_test": Form((_SIDE, _SIDE, 3), 10),
    "cifar10_train20k": Form((_SIDE, _SIDE, 3), 10),
    "cifar100_test3k": Form((_SIDE, _SIDE, 3)),
    "tiny_imagenet_32_3k": Form((_SIDE, _SIDE, 3)),
    "emnist_digits": Form((SIDE, SIDE), 10),
    "emnist_letters": Form((SIDE, SIDE)),
    "notmnist": Form((SIDE, SIDE)),
}
"""The archives by name."""


@dataclass(frozen=True, eq=False)
class Archive:
    """The images [n, H, W] or [n, H, W, 3] uint8 of an archive, their labels [n] and rows there, in random order."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def read(cls, folder: Path, name: str) -> Archive:
        """Read `name`.npz.

        Raises:
            DataError: if it is missing or damaged, its images have another form, or there is not a class for each.
        """
        path = folder / f"{name}.npz"
        if not path.is_file():
            raise DataError(f"--data {folder} has no {name}.npz; give the folder of the study's archives")
        arrays = read_arrays(path, ("images", "labels"))
        if "images" not in arrays:
            raise DataError(f"{path} has no array 'images'; it holds {', '.join(arrays) or 'nothing'}")
        images, form = arrays["images"], FORMS[name]
        if images.dtype != np.uint8 or images.shape[1:] != form.shape or not len(images):
            expected = ", ".join(map(str, form.shape))
            raise DataError(f"{path}: images are {images.dtype} {images.shape}; expected uint8 [n, {expected}]")
        if "labels" in arrays:
            require_labels(path, arrays["labels"], len(images), form.classes)
        elif form.classes is not None:
            raise DataError(f"{path} has no array 'labels'; expected a class for each image")
        labels = arrays.get("labels", np.full(len(images), -1))
        order = np.random.default_rng(_SEED).permutation(len(images))
        return cls(images[order], labels[order].astype(np.int64), order)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def take(self, rows: NDArray[np.intp]) -> Samples:
        """Return images [n, C, H, W] float32 in [0, 1] with their labels."""
        pixels = torch.from_numpy(self.images[rows]).float().div_(255)
        images = pixels[:, None] if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2).contiguous()
        return Samples(images, torch.from_numpy(self.labels[rows]))

    def colour(self, rows: NDArray[np.intp]) -> Tensor:
        """Return grey images as colour images [n, 3, 32, 32], with a black margin."""
        images = self.take(rows).inputs
        return F.pad(images, [(_SIDE - images.shape[-1]) // 2] * 4).expand(-1, 3, -1, -1).contiguous()


def third(count: int, number: int, most: int | None = None) -> NDArray[np.intp]:
    """Return the indices of one of three disjoint parts of `count` samples; at most `most` of them."""
    return np.arange(number, count, 3)[:most]


def without(count: int, rows: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return the indices below `count` that are not in `rows`, in random order."""
    return np.random.default_rng((_SEED, seed)).permutation(np.setdiff1d(np.arange(count), rows))
