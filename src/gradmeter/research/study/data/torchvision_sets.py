"""The paper's data sets as published: EMNIST, CIFAR-10 and Omniglot through torchvision, and notMNIST."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PurePosixPath
from tarfile import TarError
from zipfile import BadZipFile, ZipFile

import numpy as np
import numpy.typing as npt

from gradmeter.errors import DataError
from gradmeter.research.study.data import noise, notmnist
from gradmeter.research.study.data.collection import PAPER_NAMES, Collection, Sizes
from gradmeter.research.study.data.concept import Concept
from gradmeter.research.study.data.extras import package_folder
from gradmeter.research.study.data.preprocessing import cifar_to_grey, omniglot_to_strokes

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

# R9, R10, R12, R13, R19.
PAPER_SIZES = Sizes(
    train=60_000,
    validation=20_000,
    test=200_000,
    unknowns={"letters": 20_000, "uniform": 20_000, "normal": 10_000},
    known_unknowns=200,
)
# In EMNIST's ByClass labels the letters follow the ten digits: 10..61 for A-Z a-z.
_FIRST_LETTER = 10


def load_torchvision(
    root: Path, download: bool = False, noise_form: str = noise.CLIPPED, sizes: Sizes = PAPER_SIZES
) -> Collection:
    """The paper's data at the paper's sizes.

    EMNIST's digits split, training and test part pooled to 280,000; the letters of its ByClass split, both parts
    pooled; CIFAR-10's test set; Omniglot's evaluation set; notMNIST_small. EMNIST's raw images are transposed and
    are made upright here.

    Args:
        root: Folder where the files are or go, laid out as torchvision does.
        download: Fetch what is not there.
        noise_form: How noise reaches a network, one of `noise.FORMS`.
        sizes: The sizes of a run.

    Raises:
        DataError: torchvision is missing, or files are missing, damaged or cannot be downloaded.
    """
    package_folder("torchvision", "emnist")
    digits = Concept("digits", *_emnist(root, download, "digits"))
    letters = Concept("letters", *_emnist(root, download, "byclass", _FIRST_LETTER))
    cifar10 = _cifar10(root, download)
    omniglot = _omniglot(root, download)
    not_mnist, skipped = _notmnist(root, download)
    return Collection(
        digits=digits,
        unknowns={"letters": letters, "cifar10": cifar10, "omniglot": omniglot, "notmnist": not_mnist},
        names=dict(PAPER_NAMES),
        sources={
            "digits": f"EMNIST, digits split, training and test part pooled: {len(digits):,} images",
            "letters": f"EMNIST, ByClass split, labels 10..61, training and test part pooled: {len(letters):,} images",
            "cifar10": f"CIFAR-10 test set: {len(cifar10):,} images",
            "omniglot": f"Omniglot evaluation set: {len(omniglot):,} images",
            "notmnist": f"notMNIST_small: {len(not_mnist):,} images, {skipped} unreadable files skipped",
            **noise.sources(noise_form),
        },
        absent={},
        sizes=sizes,
        noise_form=noise_form,
    )


@contextmanager
def _explained(name: str, root: Path, download: bool) -> Iterator[None]:
    """torchvision's many ways to fail as one DataError."""
    try:
        yield
    except DataError:
        raise
    # No network, missing files, wrong checksums, truncated idx files, broken archives.
    except (OSError, RuntimeError, ValueError, AssertionError, EOFError, BadZipFile, TarError, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        advice = (
            "check the network and that the folder can be written, and remove what is damaged"
            if download
            else "remove what is damaged, and add --download to fetch what is missing"
        )
        raise DataError(f"{name} cannot be read from {root} ({reason}); {advice}") from error


def _emnist(root: Path, download: bool, split: str, first_label: int = 0) -> tuple[Images, Labels]:
    """Upright images and labels from 0 on, training and test part pooled; only labels from `first_label` on."""
    from torchvision.datasets import EMNIST

    images, labels = [], []
    with _explained(f"EMNIST ({split})", root, download):
        for train in (True, False):
            part = EMNIST(root, split=split, train=train, download=download)
            chosen = part.targets >= first_label
            images.append(part.data[chosen].numpy().transpose(0, 2, 1))
            labels.append(part.targets[chosen].numpy() - first_label)
        return np.concatenate(images), np.concatenate(labels)


def _cifar10(root: Path, download: bool) -> Concept:
    from torchvision.datasets import CIFAR10

    with _explained("CIFAR-10", root, download), warnings.catch_warnings():
        # The published batches were pickled by an old NumPy, on which NumPy 2.4.0 to 2.4.4 warn.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        test = CIFAR10(root, train=False, download=download)
    return Concept("cifar10", cifar_to_grey(test.data), np.array(test.targets, np.int64))


def _omniglot(root: Path, download: bool) -> Concept:
    """The evaluation set, from the zip itself: torchvision's class fails where it was not unpacked."""
    from PIL import Image
    from torchvision.datasets import Omniglot
    from torchvision.datasets.utils import check_integrity, download_url

    folder, file = root / Omniglot.folder, "images_evaluation.zip"
    md5 = Omniglot.zips_md5["images_evaluation"]
    with _explained("Omniglot", root, download):
        if download:
            download_url(f"{Omniglot.download_url_prefix}/{file}", folder, file, md5)
        if not check_integrity(folder / file, md5):
            raise RuntimeError(f"{Omniglot.folder}/{file} is missing or damaged")
        with ZipFile(folder / file) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".png"))
            images = np.stack([np.asarray(Image.open(BytesIO(archive.read(name))).convert("L")) for name in names])
    _, labels = np.unique([str(PurePosixPath(name).parent) for name in names], return_inverse=True)
    return Concept("omniglot", omniglot_to_strokes(images), labels.astype(np.int64))


def _notmnist(root: Path, download: bool) -> tuple[Concept, int]:
    from torchvision.datasets.utils import download_url

    if download:
        with _explained("notMNIST", root, download):
            download_url(notmnist.URL, root, notmnist.FILE, notmnist.MD5)
    return notmnist.read_notmnist(root / notmnist.FILE)
