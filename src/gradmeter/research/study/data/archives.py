"""The data source "a folder of `.npz` archives"; each archive holds `images` and, for digits, `labels`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradmeter.errors import DataError
from gradmeter.research.study.data import noise
from gradmeter.research.study.data.collection import PAPER_NAMES, Collection, Sizes
from gradmeter.research.study.data.concept import SIDE, Concept
from gradmeter.research.study.data.preprocessing import cifar_to_grey, omniglot_to_strokes
from gradmeter.sources.samples.npz import Array, read_arrays

# The minimum number of digits: 150 for training, 50 for validation, 140 for testing.
MIN_DIGITS = 340


@dataclass(frozen=True)
class Archive:
    """The expected content of a concept's archive.

    Attributes:
        stem: file name without `.npz`.
        shape: shape of one image.
        classes: number of classes; labels are 0 .. classes - 1. None allows any label from 0.
        to_grey: converts images [n, *shape] (uint8, bool or float) to [n, 28, 28] uint8; None for images of that size.
        title: display name; None for the name in `PAPER_NAMES`.
    """

    stem: str
    shape: tuple[int, ...]
    classes: int | None
    to_grey: Callable[[Array], Array] | None = None
    title: str | None = None

    @property
    def file(self) -> str:
        """The file name."""
        return f"{self.stem}.npz"


ARCHIVES = {
    "digits": Archive("emnist_digits", (SIDE, SIDE), 10),
    "letters": Archive("emnist_letters", (SIDE, SIDE), 52),
    "cifar10": Archive("cifar10_test", (32, 32, 3), 10, cifar_to_grey),
    "omniglot": Archive("omniglot", (105, 105), None, omniglot_to_strokes),
    "notmnist": Archive("notmnist", (SIDE, SIDE), 10),
}
"""The concepts that a folder may hold, by role. An entry here adds an unknown concept to the study."""


def load_archives(folder: Path, noise_form: str = noise.CLIPPED) -> Collection:
    """Read the archives of a folder: `emnist_digits.npz` and any others of `ARCHIVES`.

    Images are uint8 (0..255), float (0..1) or bool. `scaled_sizes` derives the sizes of a run from
    the number of digits.

    Args:
        folder: folder of the archives.
        noise_form: form of the noise images, one of `noise.FORMS`.

    Raises:
        DataError: the folder or the digits are missing, or an archive is damaged or has unexpected content.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; expected a folder with {ARCHIVES['digits'].file}")
    others = sorted(path.name for path in folder.glob("*.npz") if path.name not in {a.file for a in ARCHIVES.values()})
    unused = f" (unused files: {', '.join(others)})" if others else ""
    if not (folder / ARCHIVES["digits"].file).is_file():
        raise DataError(f"{folder} has no {ARCHIVES['digits'].file}; a study needs digits{unused}")
    present = {role: archive for role, archive in ARCHIVES.items() if (folder / archive.file).is_file()}
    pools = {role: _concept(role, archive, folder / archive.file) for role, archive in present.items()}
    sources = {role: _description(present[role], pool) for role, pool in pools.items()}
    digits = pools.pop("digits")
    return Collection(
        digits=digits,
        unknowns=pools,
        names=PAPER_NAMES | {role: archive.title for role, archive in ARCHIVES.items() if archive.title is not None},
        sources=sources | noise.sources(noise_form),
        absent={
            role: f"no {archive.file} in the data folder{unused}"
            for role, archive in ARCHIVES.items()
            if role not in present
        },
        sizes=scaled_sizes(len(digits)),
        noise_form=noise_form,
    )


def scaled_sizes(digits: int) -> Sizes:
    """Return the sizes of a run for a number of digits.

    With 136,000 digits or more: 60,000 training and 20,000 validation digits as in the paper, the rest for testing;
    20,000 uniform and 10,000 normal noise images; 200 known unknowns. With fewer digits, train : validation : test is
    60 : 20 : 56, noise shrinks with the test digits, and known unknowns are 1 % of the validation digits but at least
    20. At most 20,000 letters are used, and of every other concept all images that are not known unknowns.

    Raises:
        DataError: there are fewer than 340 digits.
    """
    if digits < MIN_DIGITS:
        raise DataError(f"digits: have {digits:,} images, need at least {MIN_DIGITS:,}; give more images")
    train = min(60_000, digits * 60 // 136)
    validation = min(20_000, digits * 20 // 136)
    test = digits - train - validation
    uniform = min(20_000, test * 20 // 56)
    return Sizes(
        train=train,
        validation=validation,
        test=test,
        unknowns={"letters": 20_000, "uniform": uniform, "normal": uniform // 2},
        known_unknowns=max(20, min(200, validation // 100)),
    )


def _concept(role: str, archive: Archive, path: Path) -> Concept:
    members = read_arrays(path, ("images", "labels"))
    if "images" not in members:
        raise DataError(f"{path} has no array 'images'; it holds {sorted(members)}")
    images = members["images"]
    _check_images(path, images, archive)
    labels = members.get("labels")
    if labels is None and role == "digits":
        raise DataError(f"{path} has no array 'labels'; a study needs the labels 0..9 of the digits")
    if labels is not None:
        require_labels(path, labels, len(images), archive.classes)
        labels = labels.astype(np.int64)
    return Concept(role, _to_grey(archive, images), labels)


def _check_images(path: Path, images: Array, archive: Archive) -> None:
    if images.shape[1:] != archive.shape or images.ndim != len(archive.shape) + 1:
        expected = ", ".join(map(str, archive.shape))
        raise DataError(f"{path}: images have shape {images.shape}, expected [n, {expected}]")
    if images.dtype.kind == "f":
        # min and max propagate NaN.
        low, high = (images.min(), images.max()) if images.size else (0, 0)
        if not (low >= 0 and high <= 1):
            values = "NaN or infinite values" if not np.isfinite(low + high) else f"values from {low:g} to {high:g}"
            raise DataError(f"{path}: float images hold {values}, expected numbers in [0, 1]")
    elif images.dtype not in (np.uint8, np.bool_):
        raise DataError(f"{path}: images are {images.dtype}, expected uint8 (0..255), float (0..1) or bool")
    elif images.dtype == np.uint8 and images.size and images.max() == 1:
        raise DataError(f"{path}: uint8 images hold only 0 and 1, expected 0..255; multiply them by 255")


def require_labels(path: Path, labels: Array, count: int, classes: int | None) -> None:
    """Check the labels of an archive.

    Args:
        path: of the archive.
        labels: its labels.
        count: number of its images.
        classes: number of classes; None allows any label from 0.

    Raises:
        DataError: if they are not one class for each image.
    """
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: labels are {labels.dtype} of shape {labels.shape}, "
            f"expected one integer for each of the {count:,} images"
        )
    if count and (labels.min() < 0 or (classes is not None and labels.max() >= classes)):
        expected = "0 or more" if classes is None else f"0..{classes - 1}"
        raise DataError(f"{path}: labels run from {labels.min()} to {labels.max()}, expected {expected}")


def _to_grey(archive: Archive, images: Array) -> Array:
    if archive.to_grey is not None:
        return archive.to_grey(images)
    if images.dtype == np.bool_:
        return images.astype(np.uint8) * np.uint8(255)
    return images if images.dtype == np.uint8 else images.astype(np.float32)


def _description(archive: Archive, pool: Concept) -> str:
    return f"{archive.file}: {len(pool):,} images of {' x '.join(map(str, archive.shape))}"
