from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradmeter.errors import DataError
from gradmeter.research.study.data import notmnist
from gradmeter.research.study.data.notmnist import read_notmnist

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 28, 28), np.uint8)


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, files: dict[str, bytes]) -> str:
    """Write an archive in the layout of notMNIST_small.tar.gz and return its MD5."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"notMNIST_small/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_letters_come_in_the_order_of_their_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {f"{name}.png": png(image) for name, image in zip(("J/b", "A/z", "J/a", "C/a"), IMAGES, strict=True)}
    monkeypatch.setattr(notmnist, "MD5", write(tmp_path / "archive", files))
    concept, skipped = read_notmnist(tmp_path / "archive")
    np.testing.assert_array_equal(concept.images, IMAGES[[1, 3, 2, 0]])
    np.testing.assert_array_equal(concept.labels, [0, 2, 9, 9])
    assert skipped == 0


def test_unreadable_files_are_skipped_and_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = png(IMAGES[0])
    files = {
        "A/empty.png": b"",
        "A/good.png": whole,
        "A/text.png": b"no image",
        "A/truncated.png": whole[: len(whole) // 2],
        "A/wide.png": png(np.zeros((28, 30), np.uint8)),
        "B/read.me": b"no image either, but no PNG by its name",
    }
    monkeypatch.setattr(notmnist, "MD5", write(tmp_path / "archive", files))
    concept, skipped = read_notmnist(tmp_path / "archive")
    np.testing.assert_array_equal(concept.images, IMAGES[:1])
    assert skipped == 4


def test_checksum(tmp_path: Path) -> None:
    md5 = write(tmp_path / "archive", {"A/a.png": png(IMAGES[0])})
    with pytest.raises(DataError, match=rf"archive.*{md5}.*c9890a47"):
        read_notmnist(tmp_path / "archive")


def test_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"archive.*--download"):
        read_notmnist(tmp_path / "archive")
