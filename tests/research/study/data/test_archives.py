from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradmeter.errors import DataError
from gradmeter.research.study.data.archives import load_archives, scaled_sizes
from gradmeter.research.study.data.preprocessing import cifar_to_grey, omniglot_to_strokes

REAL_DATA = Path(__file__).resolve().parents[4].parent / "shared" / "data"
REPLACED: dict[str, Any] = {
    "images": np.random.default_rng(1).integers(0, 256, (400, 28, 28), np.uint8),
    "labels": np.arange(400) % 10,
}


def test_all_archives(archive_folder: Path) -> None:
    collection = load_archives(archive_folder)
    assert list(collection.unknowns) == ["letters", "cifar10", "omniglot", "notmnist"]
    assert collection.absent == {}
    with np.load(archive_folder / "emnist_digits.npz") as digits:
        np.testing.assert_array_equal(collection.digits.images, digits["images"])
        np.testing.assert_array_equal(collection.digits.labels, digits["labels"])
    with np.load(archive_folder / "cifar10_test.npz") as cifar10:
        np.testing.assert_array_equal(collection.unknowns["cifar10"].images, cifar_to_grey(cifar10["images"]))
    with np.load(archive_folder / "omniglot.npz") as omniglot:
        np.testing.assert_array_equal(collection.unknowns["omniglot"].images, omniglot_to_strokes(omniglot["images"]))
    assert collection.unknowns["omniglot"].labels is None
    assert collection.sources["cifar10"] == "cifar10_test.npz: 60 images of 32 x 32 x 3"
    assert set(collection.sources) == {"digits", *collection.unknowns, "uniform", "normal"}


def test_draw_from_small_archives(archive_folder: Path) -> None:
    draw = load_archives(archive_folder).draw(0, seed=0)
    assert (len(draw.train), len(draw.validation), len(draw.test)) == (176, 58, 166)
    assert {role: len(images) for role, images in draw.unknowns.items()} == {
        "letters": 60,
        "cifar10": 40,
        "omniglot": 40,
        "notmnist": 60,
        "uniform": 59,
        "normal": 29,
    }


def test_missing_sets_are_named_and_other_archives_mentioned(archive_folder: Path) -> None:
    (archive_folder / "omniglot.npz").rename(archive_folder / "omniglott.npz")
    (archive_folder / "notmnist.npz").unlink()
    collection = load_archives(archive_folder)
    assert list(collection.unknowns) == ["letters", "cifar10"]
    assert set(collection.absent) == {"omniglot", "notmnist"}
    assert all(f"{role}.npz" in reason and "omniglott.npz" in reason for role, reason in collection.absent.items())


def test_digits_alone_are_enough(archive_folder: Path) -> None:
    for path in archive_folder.glob("*.npz"):
        if path.stem != "emnist_digits":
            path.unlink()
    assert set(load_archives(archive_folder).draw(0, seed=0).unknowns) == {"uniform", "normal"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_and_bool_images(archive_folder: Path, dtype: type) -> None:
    floats = np.random.default_rng(0).random((60, 28, 28)).astype(dtype)
    floats[0], floats[1] = 0, 1
    np.savez(archive_folder / "emnist_letters.npz", images=floats)
    np.savez(archive_folder / "notmnist.npz", images=floats > 0.5)
    unknowns = load_archives(archive_folder).unknowns
    np.testing.assert_array_equal(unknowns["letters"].images, floats.astype(np.float32))
    np.testing.assert_array_equal(unknowns["notmnist"].images, np.where(floats > 0.5, 255, 0))


def test_noise_is_clipped_by_default(archive_folder: Path) -> None:
    collection = load_archives(archive_folder)
    assert "clipped to [0, 1]" in collection.sources["normal"]
    assert collection.draw(0, seed=0).unknowns["normal"].images.min() == 0
    assert load_archives(archive_folder, noise_form="raw").draw(0, seed=0).unknowns["normal"].images.min() < 0


def test_missing_folder_and_missing_digits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        load_archives(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"emnist_digits\.npz"):
        load_archives(tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"images": REPLACED["images"][:, :27]}, "(400, 27, 28)"),
        ({"images": REPLACED["images"][..., None]}, "(400, 28, 28, 1)"),
        ({"images": np.float64(3)}, "()"),
        ({"images": REPLACED["images"].astype(np.int32)}, "int32"),
        ({"images": REPLACED["images"].astype(str)}, "<U3"),
        ({"images": REPLACED["images"] / 128}, "1.99219"),
        ({"images": -(REPLACED["images"] / 255)}, "-1"),
        ({"images": np.where(np.arange(28) == 3, np.nan, REPLACED["images"] / 255)}, "NaN"),
        ({"images": np.where(np.arange(28) == 3, np.inf, REPLACED["images"] / 255)}, "NaN"),
        ({"images": REPLACED["images"] // 128}, "uint8"),
        ({"images": REPLACED["images"].astype(object)}, "emnist_digits.npz"),
        ({"labels": REPLACED["labels"].astype(object)}, "emnist_digits.npz"),
        ({"labels": REPLACED["labels"][:399]}, "(399,)"),
        ({"labels": REPLACED["labels"][:, None]}, "(400, 1)"),
        ({"labels": REPLACED["labels"].astype(float)}, "float64"),
        ({"labels": REPLACED["labels"] + 1}, "1 to 10"),
        ({"labels": REPLACED["labels"] - 1}, "-1 to 8"),
        ({"images": None}, "['labels']"),
        ({"labels": None}, "'labels'"),
        (
            {"images": REPLACED["images"][:339], "labels": REPLACED["labels"][:339]},
            "339",
        ),
        ({"images": REPLACED["images"][:0], "labels": REPLACED["labels"][:0]}, "340"),
    ],
)
def test_wrong_digits(archive_folder: Path, change: dict[str, Any], named: str) -> None:
    members = {name: value for name, value in (REPLACED | change).items() if value is not None}
    np.savez(archive_folder / "emnist_digits.npz", **members)
    with pytest.raises(DataError, match=re.escape(named)) as raised:
        load_archives(archive_folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("stem", ["cifar10_test", "omniglot"])
def test_unknown_sets_keep_their_own_shape(archive_folder: Path, stem: str) -> None:
    np.savez(archive_folder / f"{stem}.npz", images=REPLACED["images"])
    with pytest.raises(DataError, match=rf"{stem}\.npz.*\(400, 28, 28\)"):
        load_archives(archive_folder)


def test_too_few_unknown_images(archive_folder: Path) -> None:
    np.savez(archive_folder / "omniglot.npz", images=np.ones((39, 105, 105), bool))
    with pytest.raises(DataError, match=r"omniglot: .*39 images.* 40"):
        load_archives(archive_folder)


@pytest.mark.parametrize("length", [0, 100, 0.5, 0.999])
def test_truncated_archive(archive_folder: Path, length: float) -> None:
    path = archive_folder / "emnist_digits.npz"
    content = path.read_bytes()
    path.write_bytes(content[: int(length * len(content)) if length < 1 else int(length)])
    with pytest.raises(DataError, match=r"emnist_digits\.npz"):
        load_archives(archive_folder)


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_inside(archive_folder: Path, compressed: bool) -> None:
    path = archive_folder / "emnist_digits.npz"
    (np.savez_compressed if compressed else np.savez)(path, **REPLACED)
    content = bytearray(path.read_bytes())
    content[2000:2100] = b"\xff" * 100
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"emnist_digits\.npz"):
        load_archives(archive_folder)


def test_foreign_members(archive_folder: Path) -> None:
    path = archive_folder / "emnist_digits.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"no array")
    with pytest.raises(DataError, match=r"emnist_digits\.npz"):
        load_archives(archive_folder)
    np.save(archive_folder / "bare.npy", REPLACED["images"])
    (archive_folder / "bare.npy").replace(path)
    with pytest.raises(DataError, match=r"emnist_digits\.npz"):
        load_archives(archive_folder)


def test_the_papers_sizes() -> None:
    sizes = scaled_sizes(280_000)
    assert (sizes.train, sizes.validation, sizes.test) == (60_000, 20_000, 200_000)
    assert sizes.unknowns == {"letters": 20_000, "uniform": 20_000, "normal": 10_000}
    assert sizes.known_unknowns == 200


@pytest.mark.parametrize("digits", [340, 1_000, 10_000, 70_000, 135_999, 136_000, 150_000])
def test_sizes_use_every_digit_and_never_more_noise(digits: int) -> None:
    sizes = scaled_sizes(digits)
    assert sizes.digits == digits
    assert sizes.train / sizes.validation == pytest.approx(3, rel=0.02)
    assert sizes.unknowns["normal"] <= sizes.unknowns["uniform"] <= sizes.test
    assert sizes.known_unknowns == max(20, min(200, sizes.validation // 100))


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no folder shared/data beside the repository")
def test_real_images() -> None:
    collection = load_archives(REAL_DATA)
    sizes = collection.sizes
    assert (sizes.train, sizes.validation, sizes.test) == (60_000, 20_000, 56_896)
    draw = collection.draw(0, seed=0)
    assert {role: len(images) for role, images in draw.unknowns.items()} == {
        "letters": 20_000,
        "cifar10": 9_800,
        "omniglot": 4_640,
        "notmnist": 10_000,
        "uniform": 20_000,
        "normal": 10_000,
    }
    # White strokes on black: mostly dark, with black corners.
    for concept in (draw.test, draw.unknowns["letters"], draw.unknowns["omniglot"]):
        assert 10 < concept.images.mean() < 80
        assert concept.images[:, 0, 0].mean() < 2
