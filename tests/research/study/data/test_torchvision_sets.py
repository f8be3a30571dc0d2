from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import pickle
import tarfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10, EMNIST, Omniglot

from gradmeter.errors import DataError
from gradmeter.research.study.data import Sizes, notmnist
from gradmeter.research.study.data.preprocessing import cifar_to_grey, omniglot_to_strokes
from gradmeter.research.study.data.torchvision_sets import PAPER_SIZES, load_torchvision

SIZES = Sizes(train=10, validation=5, test=15, unknowns={"letters": 6, "uniform": 5, "normal": 4}, known_unknowns=2)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def idx(array: np.ndarray) -> bytes:
    """The idx-ubyte format: two zeros, type 8, number of dimensions, the sizes big-endian, the bytes."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def write_emnist(path: Path, splits: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """EMNIST's gzip.zip: for "digits-train" and so on UPRIGHT images and labels, stored transposed."""
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for split, (images, labels) in splits.items():
            transposed = images.transpose(0, 2, 1)
            archive.writestr(f"gzip/emnist-{split}-images-idx3-ubyte.gz", gzip.compress(idx(transposed)))
            archive.writestr(f"gzip/emnist-{split}-labels-idx1-ubyte.gz", gzip.compress(idx(labels)))


class OldPickler(pickle.Pickler):
    """Describes dtypes as the NumPy of 2009 did, with 0 and 1 for False and True."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.dtype):
            return np.dtype, ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0)
        return NotImplemented


def write_cifar10(path: Path, images: np.ndarray, labels: list[int]) -> dict[str, str]:
    """CIFAR-10's python archive, images [n, 32, 32, 3] stored as planes in rows; its files' MD5."""
    checksums = {}
    rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (("test_batch", {"data": rows, "labels": labels}), ("batches.meta", {"label_names": []})):
            stream = io.BytesIO()
            OldPickler(stream, protocol=2).dump(content)
            add(archive, f"cifar-10-batches-py/{name}", stream.getvalue())
            checksums[name] = hashlib.md5(stream.getvalue(), usedforsecurity=False).hexdigest()
    return checksums


def write_omniglot(path: Path, images: dict[str, np.ndarray]) -> None:
    """Omniglot's images_evaluation.zip: name in the archive to an image [105, 105] of 0 and 255."""
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, image in images.items():
            archive.writestr(f"images_evaluation/{name}", png(image))


def write_notmnist(path: Path, files: dict[str, bytes]) -> None:
    """notMNIST_small.tar.gz: name in the archive to the file's bytes."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            add(archive, f"notMNIST_small/{name}", content)


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


@dataclass
class Published:
    """The written images, upright and in the order in which they are read."""

    root: Path
    digits: np.ndarray
    byclass: np.ndarray
    byclass_labels: np.ndarray
    cifar10: np.ndarray
    omniglot: np.ndarray
    notmnist: np.ndarray


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """Small archives in the published formats, in torchvision's layout, with their checksums."""
    generator = np.random.default_rng(0)

    def pixels(*shape: int) -> np.ndarray:
        return generator.integers(0, 256, shape, np.uint8)

    root = tmp_path / "root"
    data = Published(
        root=root,
        digits=pixels(30, 28, 28),
        byclass=pixels(20, 28, 28),
        byclass_labels=np.array([3, 10, 61, 35, 9, 36, 0, 11, 60, 12] * 2),
        cifar10=pixels(6, 32, 32, 3),
        omniglot=np.where(pixels(4, 105, 105) < 200, 255, 0).astype(np.uint8),
        notmnist=pixels(3, 28, 28),
    )
    write_emnist(
        root / "EMNIST" / "raw" / "gzip.zip",
        {
            "digits-train": (data.digits[:24], np.arange(24) % 10),
            "digits-test": (data.digits[24:], np.arange(24, 30) % 10),
            "byclass-train": (data.byclass[:12], data.byclass_labels[:12]),
            "byclass-test": (data.byclass[12:], data.byclass_labels[12:]),
        },
    )
    monkeypatch.setattr(EMNIST, "md5", md5(root / "EMNIST" / "raw" / "gzip.zip"))

    checksums = write_cifar10(root / CIFAR10.filename, data.cifar10, [0, 1, 2, 3, 4, 5])
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(root / CIFAR10.filename))
    monkeypatch.setattr(CIFAR10, "train_list", [])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", checksums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": checksums["batches.meta"]})

    names = ("Tengwar/character02/0001_01.png", "Angelic/character01/0002_02.png")
    names += ("Angelic/character01/0001_01.png", "Tengwar/character01/0003_01.png")
    write_omniglot(
        root / "omniglot-py" / "images_evaluation.zip", dict(zip(names, data.omniglot[[3, 1, 0, 2]], strict=True))
    )
    zips = {"images_evaluation": md5(root / "omniglot-py" / "images_evaluation.zip")}
    monkeypatch.setattr(Omniglot, "zips_md5", zips)

    letters = {f"{letter}/x.png": png(image) for letter, image in zip("ABJ", data.notmnist, strict=True)}
    write_notmnist(root / notmnist.FILE, letters | {"A/damaged.png": b""})
    monkeypatch.setattr(notmnist, "MD5", md5(root / notmnist.FILE))
    return data


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


pytestmark = [
    pytest.mark.usefixtures("no_network"),
    # torchvision unpacks CIFAR-10 without a tar filter; Python 3.12 and 3.13 warn about this.
    pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning"),
]


def test_original_formats(published: Published) -> None:
    collection = load_torchvision(published.root, download=True, sizes=SIZES)
    np.testing.assert_array_equal(collection.digits.images, published.digits)
    np.testing.assert_array_equal(collection.digits.labels, np.arange(30) % 10)

    letters, labels = collection.unknowns["letters"], published.byclass_labels
    np.testing.assert_array_equal(letters.images, published.byclass[labels >= 10])
    np.testing.assert_array_equal(letters.labels, labels[labels >= 10] - 10)

    np.testing.assert_array_equal(collection.unknowns["cifar10"].images, cifar_to_grey(published.cifar10))
    np.testing.assert_array_equal(collection.unknowns["cifar10"].labels, range(6))
    np.testing.assert_array_equal(collection.unknowns["omniglot"].images, omniglot_to_strokes(published.omniglot))
    np.testing.assert_array_equal(collection.unknowns["omniglot"].labels, [0, 0, 1, 2])
    np.testing.assert_array_equal(collection.unknowns["notmnist"].images, published.notmnist)
    np.testing.assert_array_equal(collection.unknowns["notmnist"].labels, [0, 1, 9])
    assert collection.sources["notmnist"] == "notMNIST_small: 3 images, 1 unreadable files skipped"


def test_once_unpacked_no_download_is_needed(published: Published) -> None:
    first = load_torchvision(published.root, download=True, sizes=SIZES)
    again = load_torchvision(published.root, noise_form="clipped", sizes=SIZES)
    assert again.hashes() == first.hashes()
    assert again.absent == {}
    assert set(again.sources) == {"digits", "uniform", "normal", *again.unknowns}
    draw = again.draw(0, seed=0)
    assert (len(draw.train), len(draw.test), len(draw.unknowns["letters"])) == (10, 15, 6)
    assert draw.unknowns["normal"].images.min() == 0


def test_the_papers_sizes_are_the_default(published: Published) -> None:
    with pytest.raises(DataError, match=r"digits: .* 30 images.* 280,000 "):
        load_torchvision(published.root, download=True)
    sizes = dataclasses.asdict(PAPER_SIZES)
    assert sizes == {
        "train": 60_000,
        "validation": 20_000,
        "test": 200_000,
        "unknowns": {"letters": 20_000, "uniform": 20_000, "normal": 10_000},
        "known_unknowns": 200,
    }


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("EMNIST (digits)", "EMNIST"),
        ("CIFAR-10", "cifar-10-batches-py"),
        ("Omniglot", "omniglot-py"),
        ("notMNIST_small.tar.gz", "notMNIST_small.tar.gz"),
    ],
)
def test_the_error_for_missing_files_names_the_download_option(published: Published, name: str, path: str) -> None:
    load_torchvision(published.root, download=True, sizes=SIZES)
    (published.root / path).rename(published.root / "elsewhere")
    with pytest.raises(DataError, match="--download") as raised:
        load_torchvision(published.root, sizes=SIZES)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "path", ["EMNIST", "cifar-10-python.tar.gz", "omniglot-py/images_evaluation.zip", "notMNIST_small.tar.gz"]
)
def test_the_error_without_a_network_names_the_reason(published: Published, path: str) -> None:
    (published.root / path).rename(published.root / "elsewhere")
    with pytest.raises(DataError, match="no network in this test") as raised:
        load_torchvision(published.root, download=True, sizes=SIZES)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("length", [0, 3, 500])
def test_truncated_emnist(published: Published, length: int) -> None:
    load_torchvision(published.root, download=True, sizes=SIZES)
    raw = published.root / "EMNIST" / "raw" / "emnist-digits-train-images-idx3-ubyte"
    raw.write_bytes(raw.read_bytes()[:length])
    with pytest.raises(DataError, match=r"EMNIST \(digits\)"):
        load_torchvision(published.root, sizes=SIZES)


@pytest.mark.parametrize("path", ["cifar-10-batches-py/test_batch", "omniglot-py/images_evaluation.zip"])
def test_checksums(published: Published, path: str) -> None:
    load_torchvision(published.root, download=True, sizes=SIZES)
    content = bytearray((published.root / path).read_bytes())
    content[100] ^= 1
    (published.root / path).write_bytes(content)
    with pytest.raises(DataError, match="--download"):
        load_torchvision(published.root, sizes=SIZES)


def test_emnist_of_an_unknown_type(published: Published) -> None:
    load_torchvision(published.root, download=True, sizes=SIZES)
    raw = published.root / "EMNIST" / "raw" / "emnist-digits-train-images-idx3-ubyte"
    content = raw.read_bytes()
    raw.write_bytes(content[:2] + b"\x0a" + content[3:])
    with pytest.raises(DataError, match=r"EMNIST \(digits\)"):
        load_torchvision(published.root, sizes=SIZES)
