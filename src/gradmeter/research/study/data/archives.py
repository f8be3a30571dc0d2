"""A folder of `.npz` archives as a data source: `images` and, for the digits, `labels`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradmeter.errors import DataError
from gradmeter.research.study.data import noise
from gradmeter.research.study.data.collection import PAPER_NAMES, Collection, Sizes
from gradmeter.research.study.data.concept import SIDE, Concept
from gradmeter.research.study.data.preprocessing import cifar_to_grey, omniglot_to_strokes
from gradmeter.sources.samples.npz import Array, read_arrays

# The least number of digits: 150 to learn from, 50 to validate, 140 to test.
LEAST_DIGITS = 340


@dataclass(frozen=True)
class Archive:
    """What an archive of one role must hold.

    Attributes:
        stem: File name without `.npz`.
        shape: Shape of one image.
        classes: Labels are 0 .. classes - 1; None: any label from 0 on.
    """

    stem: str
    shape: tuple[int, ...]
    classes: int | None

    @property
    def file(self) -> str:
        """File name."""
        return f"{self.stem}.npz"


ARCHIVES = {
    "digits": Archive("emnist_digits", (SIDE, SIDE), 10),
    "letters": Archive("emnist_letters", (SIDE, SIDE), 52),
    "cifar10": Archive("cifar10_test", (32, 32, 3), 10),
    "omniglot": Archive("omniglot", (105, 105), None),
    "notmnist": Archive("notmnist", (SIDE, SIDE), 10),
}


def load_archives(folder: Path, noise_form: str = noise.CLIPPED) -> Collection:
    """The archives of a folder: `emnist_digits.npz` and any of the others in `ARCHIVES`.

    Images are uint8 (0..255), float (0..1) or bool; Omniglot's are ink on paper and are inverted.
    The sizes of a run follow from the number of digits, see `scaled_sizes`.

    Args:
        folder: Where the archives lie.
        noise_form: How noise reaches a network, one of `noise.FORMS`.

    Raises:
        DataError: The folder or the digits are missing, or an archive is damaged or holds something else.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give a folder that holds {ARCHIVES['digits'].file}")
    others = sorted(path.name for path in folder.glob("*.npz") if path.name not in {a.file for a in ARCHIVES.values()})
    unused = f" (there, but not used: {', '.join(others)})" if others else ""
    if not (folder / ARCHIVES["digits"].file).is_file():
        raise DataError(f"{folder} has no {ARCHIVES['digits'].file}, the digits a study needs{unused}")
    present = {role: archive for role, archive in ARCHIVES.items() if (folder / archive.file).is_file()}
    pools = {role: _concept(role, archive, folder / archive.file) for role, archive in present.items()}
    sources = {role: _described(present[role], pool) for role, pool in pools.items()}
    digits = pools.pop("digits")
    return Collection(
        digits=digits,
        unknowns=pools,
        names=dict(PAPER_NAMES),
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
    """The sizes of a run with `digits` digits.

    From 136,000 digits on the paper's 60,000 train and 20,000 validation, the rest to test; 20,000 uniform
    and 10,000 normal noise images; 200 known unknowns. With fewer, train : validation : test are 60 : 20 : 56,
    noise shrinks with the test digits, and known unknowns are 1 % of validation but at least 20. Letters: 20,000
    at most. CIFAR-10, Omniglot, notMNIST: all images that are not known unknowns.

    Raises:
        DataError: Fewer than 340 digits.
    """
    if digits < LEAST_DIGITS:
        raise DataError(f"digits: have {digits:,} images, need at least {LEAST_DIGITS:,}; give more images")
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
        raise DataError(f"{path} has no array 'images', only {sorted(members)}")
    images = members["images"]
    _check_images(path, images, archive)
    labels = members.get("labels")
    if labels is None and role == "digits":
        raise DataError(f"{path} has no array 'labels': a study needs the digits' labels 0..9")
    if labels is not None:
        _check_labels(path, labels, len(images), archive)
        labels = labels.astype(np.int64)
    return Concept(role, _preprocessed(role, images), labels)


def _check_images(path: Path, images: Array, archive: Archive) -> None:
    if images.shape[1:] != archive.shape or images.ndim != len(archive.shape) + 1:
        expected = ", ".join(map(str, archive.shape))
        raise DataError(f"{path}: images have shape {images.shape}, expected [n, {expected}]")
    if images.dtype.kind == "f":
        # min and max carry a NaN on.
        low, high = (images.min(), images.max()) if images.size else (0, 0)
        if not (low >= 0 and high <= 1):
            what = "NaN or infinite values" if not np.isfinite(low + high) else f"values from {low:g} to {high:g}"
            raise DataError(f"{path}: float images hold {what}, expected numbers in [0, 1]")
    elif images.dtype not in (np.uint8, np.bool_):
        raise DataError(f"{path}: images are {images.dtype}, expected uint8 (0..255), float (0..1) or bool")
    elif images.dtype == np.uint8 and images.size and images.max() == 1:
        raise DataError(f"{path}: uint8 images hold only 0 and 1, expected 0..255; multiply them by 255")


def _check_labels(path: Path, labels: Array, count: int, archive: Archive) -> None:
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: labels are {labels.dtype} of shape {labels.shape}, "
            f"expected one integer for each of the {count:,} images"
        )
    if count and (labels.min() < 0 or (archive.classes is not None and labels.max() >= archive.classes)):
        expected = "0 or more" if archive.classes is None else f"0..{archive.classes - 1}"
        raise DataError(f"{path}: labels run from {labels.min()} to {labels.max()}, expected {expected}")


def _preprocessed(role: str, images: Array) -> Array:
    if role == "cifar10":
        return cifar_to_grey(images)
    if role == "omniglot":
        return omniglot_to_strokes(images)
    if images.dtype == np.bool_:
        return images.astype(np.uint8) * np.uint8(255)
    return images if images.dtype == np.uint8 else images.astype(np.float32)


def _described(archive: Archive, pool: Concept) -> str:
    return f"{archive.file}: {len(pool):,} images of {' x '.join(map(str, archive.shape))}"
