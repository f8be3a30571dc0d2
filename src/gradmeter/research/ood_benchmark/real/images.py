"""The images of the task: three draws of validation and test images, and the unknown images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.errors import DataError
from gradmeter.research.ood_benchmark.fitting import TUNING_IMAGES
from gradmeter.research.ood_benchmark.real.corruptions import corrupted
from gradmeter.research.ood_benchmark.tasks import CIFAR10_CLASSES, Images, as_images, coloured, photographs_of
from gradmeter.sources.samples.npz import read_arrays

CIFAR100, TINY, DIGITS, LETTERS = "CIFAR-100", "Tiny-ImageNet", "digits", "letters"
UNIFORM, NORMAL, CORRUPTED, ADVERSARIAL = "uniform", "normal", "corrupted", "adversarial"
NEAR = (CIFAR100, TINY)
"""Unknown concepts that resemble the known images."""

_KNOWN = "cifar10_test"
_PHOTOGRAPHS = {CIFAR100: "cifar100_test3k", TINY: "tiny_imagenet_32_3k"}
_DRAWINGS = {DIGITS: "emnist_digits", LETTERS: "emnist_letters"}
FILES = tuple(f"{name}.npz" for name in (_KNOWN, *_PHOTOGRAPHS.values(), *_DRAWINGS.values()))
"""The files that the task reads."""

DRAWS = 3
"""Number of draws of validation and test images."""

CHOSEN_ON = 1000
"""Number of CIFAR-100's first images on which settings were chosen; they are not reported."""

KNOWN_CLASSES = {
    "bird": ("goose", "black stork", "king penguin", "albatross"),
    "cat": ("tabby", "Persian cat", "Egyptian cat"),
    "dog": (
        "Chihuahua",
        "Yorkshire terrier",
        "golden retriever",
        "Labrador retriever",
        "German shepherd",
        "standard poodle",
    ),
    "frog": ("bullfrog", "tailed frog"),
    "automobile": ("beach wagon", "convertible", "limousine", "sports car", "police van"),
    "truck": ("moving van",),
    "ship": ("lifeboat", "gondola"),
}
"""Classes of Tiny-ImageNet that show a class of CIFAR-10, by that class; they are left out. CIFAR-100 has none."""

_MOST = {CIFAR100: 2000, TINY: 2000, DIGITS: 1000, LETTERS: 1000, UNIFORM: 1000, NORMAL: 1000}
# For each kind and strength.
_CORRUPTED = 40
# Shares of the known images that are in the test half and in the validation half of every draw.
_ALWAYS_TEST = 0.05
_ALWAYS_VALIDATION = 0.2


@dataclass(frozen=True, eq=False)
class Draw:
    """The rows of the known images in one draw.

    Attributes:
        validation: [n] rows of validation images; those that every draw has come last.
        test: [m] rows of test images; those that every draw has come first.
    """

    validation: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RealImages:
    """All images that do not depend on a network.

    Attributes:
        known: the known images of all draws.
        draws: the draws.
        always_validation: [n] rows of the known images that are validation images in every draw.
        attacked: [m] rows that are test images in every draw; adversarial and corrupted images are made from them.
        unknowns: images [n, 3, 32, 32] of no class, by concept.
        chosen_on: CIFAR-100's first images [n, 3, 32, 32], on which settings were chosen.
        corrupted: corrupted images and their classes.
    """

    known: Images
    draws: tuple[Draw, ...]
    always_validation: NDArray[np.int64]
    attacked: NDArray[np.int64]
    unknowns: dict[str, Tensor]
    chosen_on: Tensor
    corrupted: Images

    @property
    def tuning(self) -> NDArray[np.int64]:
        """The rows of the known images on which detectors compare settings: validation images of every draw."""
        return self.always_validation[: min(TUNING_IMAGES, len(self.always_validation) // 2)]

    @cached_property
    def tested(self) -> NDArray[np.int64]:
        """The rows of the known images that are test images in some draw, in ascending order."""
        return np.unique(np.concatenate([draw.test for draw in self.draws]))

    def rows(self, rows: NDArray[np.int64]) -> Images:
        """Return some of the known images."""
        return Images(self.known.images[rows], self.known.labels[rows])


def load_images(folder: Path, share: float) -> RealImages:
    """Read the images.

    Args:
        folder: folder of the archives.
        share: share of the test images and of the unknown images to use.

    Raises:
        DataError: if an archive cannot be read, or holds other images.
    """
    photographs, labels = photographs_of(folder, _KNOWN, CIFAR10_CLASSES)
    draws, always_validation, attacked = _split(len(photographs), share)
    pixels, shown = corrupted(photographs[attacked], math.ceil(share * _CORRUPTED))
    return RealImages(
        Images(as_images(photographs), torch.from_numpy(labels)),
        draws,
        always_validation,
        attacked,
        *_unknowns(folder, share),
        Images(as_images(pixels), torch.from_numpy(labels[attacked][shown])),
    )


def _split(count: int, share: float) -> tuple[tuple[Draw, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Return the draws, the rows in every validation half, and those in every test half."""
    order = np.random.default_rng(0).permutation(count)
    tests, validations = math.ceil(_ALWAYS_TEST * count), math.ceil(_ALWAYS_VALIDATION * count)
    always_test, always_validation, others = np.split(order, [tests, tests + validations])
    draws = []
    for number in range(DRAWS):
        shuffled = np.random.default_rng((1, number)).permutation(others)
        validation, test = np.split(shuffled, [count // 2 - validations])
        test = np.concatenate([always_test, test])
        draws.append(Draw(np.concatenate([validation, always_validation]), test[: math.ceil(share * len(test))]))
    return tuple(draws), always_validation, always_test[: math.ceil(share * tests)]


def _unknowns(folder: Path, share: float) -> tuple[dict[str, Tensor], Tensor]:
    """Return the unknown images by concept, and those of CIFAR-100 on which settings were chosen."""
    most = {name: math.ceil(share * count) for name, count in _MOST.items()}
    photographs = {name: photographs_of(folder, archive)[0] for name, archive in _PHOTOGRAPHS.items()}
    if len(photographs[CIFAR100]) <= CHOSEN_ON:
        raise DataError(
            f"{folder / _PHOTOGRAPHS[CIFAR100]}.npz has {len(photographs[CIFAR100]):,} images; expected more than "
            f"{CHOSEN_ON:,}, because settings were chosen on the first {CHOSEN_ON:,}"
        )
    chosen_on, photographs[CIFAR100] = np.split(photographs[CIFAR100], [CHOSEN_ON])
    photographs[TINY] = photographs[TINY][_is_unknown(folder)]
    unknowns = {name: as_images(pixels[: most[name]]) for name, pixels in photographs.items()}
    for name, archive in _DRAWINGS.items():
        unknowns[name] = coloured(_drawings(folder / f"{archive}.npz", most[name]))
    random = torch.Generator().manual_seed(0)
    unknowns[UNIFORM] = torch.rand(most[UNIFORM], 3, 32, 32, generator=random)
    unknowns[NORMAL] = torch.randn(most[NORMAL], 3, 32, 32, generator=random)
    return unknowns, as_images(chosen_on[: math.ceil(share * CHOSEN_ON)])


def _is_unknown(folder: Path) -> NDArray[np.bool_]:
    """Return which photographs of Tiny-ImageNet show no class of CIFAR-10, [n]."""
    path = folder / f"{_PHOTOGRAPHS[TINY]}.npz"
    arrays = read_arrays(path, ("labels", "class_names"))
    if "class_names" not in arrays:
        raise DataError(f"{path} has no class_names; expected the name of each class")
    excluded = {name for names in KNOWN_CLASSES.values() for name in names}
    # A class has several names, separated by commas.
    kept = np.array([str(names).split(",")[0] not in excluded for names in arrays["class_names"]])
    labels = arrays["labels"].astype(np.int64)
    if labels.size and not 0 <= labels.min() <= labels.max() < len(kept):
        raise DataError(f"{path} has labels from {labels.min()} to {labels.max()} but {len(kept)} class_names")
    return np.asarray(kept[labels])


def _drawings(path: Path, count: int) -> Tensor:
    """Return the first drawings of an archive, [n, 1, H, W] in [0, 1]."""
    images = read_arrays(path, ("images",)).get("images", np.empty(0))  # refused below if missing
    if images.dtype != np.uint8 or images.ndim != 3 or max(images.shape[1:]) > 32:
        raise DataError(f"{path}: images are {images.dtype} {images.shape}; expected uint8 [n, H, W], at most 32 x 32")
    return torch.from_numpy(images[:count]).float().div_(255)[:, None]
