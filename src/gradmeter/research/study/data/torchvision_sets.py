"""The data source "emnist": the paper's published data sets (EMNIST, CIFAR-10, Omniglot, notMNIST)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt

from gradmeter.errors import DataError, GradmeterError
from gradmeter.research.study.data import noise, notmnist
from gradmeter.research.study.data.collection import PAPER_NAMES, Collection, Sizes
from gradmeter.research.study.data.concept import Concept
from gradmeter.research.study.data.extras import package_folder
from gradmeter.research.study.data.preprocessing import cifar_to_grey, omniglot_to_strokes

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

PAPER_SIZES = Sizes(
    train=60_000,
    validation=20_000,
    test=200_000,
    unknowns={"letters": 20_000, "uniform": 20_000, "normal": 10_000},
    known_unknowns=200,
)
# EMNIST ByClass labels the digits 0..9 and the letters A-Z a-z 10..61.
_FIRST_LETTER = 10


def load_torchvision(
    root: Path, download: bool = False, noise_form: str = noise.CLIPPED, sizes: Sizes = PAPER_SIZES
) -> Collection:
    """Load the paper's data sets at the paper's sizes.

    These are the digits split of EMNIST (training and test part, 280,000 images), the letters of its ByClass split
    (both parts), the CIFAR-10 test set, the Omniglot evaluation set, and notMNIST_small. EMNIST's raw images are
    transposed; they are turned upright.

    Args:
        root: folder of the files, in torchvision's layout.
        download: whether to download missing files to `root`.
        noise_form: form of the noise images, one of `noise.FORMS`.
        sizes: the sizes of a run.

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
def _wrap_errors(name: str, root: Path, download: bool) -> Iterator[None]:
    """Raise the various errors of torchvision as DataError."""
    try:
        yield
    except GradmeterError:
        raise
    except Exception as error:  # no network, missing files, wrong checksums; of damaged files, errors of any type
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        advice = (
            "check the network and the permissions of the folder, and remove damaged files"
            if download
            else "remove damaged files, and fetch missing files with --download"
        )
        raise DataError(f"{name} cannot be read from {root} ({reason}); {advice}") from error


def _emnist(root: Path, download: bool, split: str, first_label: int = 0) -> tuple[Images, Labels]:
    """Return the upright images of both parts with labels from `first_label`, and those labels counted from 0."""
    from torchvision.datasets import EMNIST

    images, labels = [], []
    with _wrap_errors(f"EMNIST ({split})", root, download):
        for train in (True, False):
            part = EMNIST(root, split=split, train=train, download=download)
            mask = part.targets >= first_label
            images.append(part.data[mask].numpy().transpose(0, 2, 1))
            labels.append(part.targets[mask].numpy() - first_label)
        return np.concatenate(images), np.concatenate(labels)


def _cifar10(root: Path, download: bool) -> Concept:
    from torchvision.datasets import CIFAR10

    with _wrap_errors("CIFAR-10", root, download), warnings.catch_warnings():
        # An old NumPy pickled the published batches; NumPy 2.4.0 to 2.4.4 warn about such files.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        test = CIFAR10(root, train=False, download=download)
    return Concept("cifar10", cifar_to_grey(test.data), np.array(test.targets, np.int64))


def _omniglot(root: Path, download: bool) -> Concept:
    """Read the evaluation set from its zip file; torchvision's class fails if the file was not unpacked."""
    from PIL import Image
    from torchvision.datasets import Omniglot
    from torchvision.datasets.utils import check_integrity, download_url

    folder, file = root / Omniglot.folder, "images_evaluation.zip"
    md5 = Omniglot.zips_md5["images_evaluation"]
    with _wrap_errors("Omniglot", root, download):
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
        with _wrap_errors("notMNIST", root, download):
            download_url(notmnist.URL, root, notmnist.FILE, notmnist.MD5)
    return notmnist.read_notmnist(root / notmnist.FILE)
