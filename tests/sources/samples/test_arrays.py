from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradmeter.errors import DataError
from gradmeter.sources.samples import ImageKind, open_source
from gradmeter.sources.samples.arrays import ImageArchive
from gradmeter.sources.samples.location import Location

GREY = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5) * 6


def archive(folder: Path, **arrays: Any) -> Path:
    path = folder / "images.npz"
    np.savez(path, **arrays)
    return path


def test_images_labels_and_names(tmp_path: Path) -> None:
    names = np.array(["zero", "one"])
    source = ImageArchive(Location(archive(tmp_path, images=GREY, labels=np.array([1, 0]), class_names=names)), "L")
    assert source.classes == ("zero", "one")
    assert [source.read(index).label for index in range(len(source))] == [1, 0]
    assert np.array_equal(np.asarray(source.read(1).content), GREY[1])
    assert source.read(1).id == "1"


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (np.array([b"cat", b"\xff"]), ("cat", r"\xff")),
        (np.arange(2, dtype=np.int8), ("0", "1")),
    ],
    ids=["bytes", "numbers"],
)
def test_names_of_other_kinds(names: np.ndarray, classes: tuple[str, ...], tmp_path: Path) -> None:
    path = archive(tmp_path, images=GREY, labels=np.array([1, 0]), class_names=names)
    assert ImageArchive(Location(path)).classes == classes


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY, GREY[..., None].repeat(3, -1)),
        (GREY / np.float32(255), GREY[..., None].repeat(3, -1)),
        (GREY > 100, ((GREY > 100) * 255)[..., None].repeat(3, -1)),
        (GREY[..., None].repeat(3, -1), GREY[..., None].repeat(3, -1)),
    ],
    ids=["uint8", "float", "bool", "colour"],
)
def test_kinds_of_pixels(images: np.ndarray, expected: np.ndarray, tmp_path: Path) -> None:
    source = ImageArchive(Location(archive(tmp_path, images=images)))
    assert np.array_equal(np.asarray(source.read(0).content), expected[0])
    assert (source.classes, source.labelled, source.read(0).label) == (None, False, None)


def test_the_fingerprint_tells_the_pixels(tmp_path: Path) -> None:
    first = ImageArchive(Location(archive(tmp_path, images=GREY))).fingerprint()
    assert ImageArchive(Location(archive(tmp_path, images=GREY))).fingerprint() == first
    assert ImageArchive(Location(archive(tmp_path, images=GREY + 1))).fingerprint() != first


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": GREY}, "'images'.*pictures"),
        ({"images": GREY[0]}, r"\(4, 5\).*\[N, height, width\]"),
        ({"images": np.stack([GREY[0]] * 3, 2)}, r"\(4, 5, 3\).*images\[None\] if this is one image"),
        ({"images": GREY[0][..., None]}, r"images\[..., None\] if these are 4 grey ones"),
        ({"images": np.stack([GREY] * 4, 3)}, r"\(2, 4, 5, 4\)"),
        ({"images": np.zeros((2, 1, 101), np.uint8)}, "101 x 1"),
        ({"images": GREY[:0]}, r"\(0, 4, 5\).*none of them 0"),
        ({"images": np.stack([GREY] * 3, 1)}, r"\(2, 3, 4, 5\).*transpose\(0, 2, 3, 1\)"),
        ({"images": GREY.astype(int)}, r"int64.*uint8.*astype\('uint8'\)"),
        ({"images": (GREY > 0).astype(np.uint8)}, "only 0 and 1"),
        ({"images": GREY.astype(float)}, r"from 0 to 234.*\[0, 1\].*images / 255"),
        ({"images": GREY * np.float32("nan")}, "contain NaN"),
        ({"images": np.array([{}, None])}, "images holds Python objects"),
    ],
)
def test_bad_arrays(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        ImageArchive(Location(archive(tmp_path, **arrays)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"labels": np.array([0])}, r"labels .*int64 .*\(1,\)"),
        ({"labels": np.array([0, -2])}, "labels .*from -2 to 0.*or -1 for"),
        ({"labels": np.array([0, 2**63], np.uint64)}, f"labels .*from 0 to {2**63}"),
        ({"labels": np.array([0.0, 1.0])}, r"labels .*float64.*astype\(int\)"),
        ({"labels": np.array([[0], [1]])}, r"labels .*\(2, 1\).*as labels\[:, 0\];"),
        ({"labels": np.eye(2)}, r"labels .*\(2, 2\).*argmax\(1\)"),
        ({"labels": np.array(["10", "2"])}, r"labels .*<U2.*astype\(int\)"),
        ({"labels": np.array([0.5, 1.0])}, "labels .*float64.* 2 samples; leave"),
        ({"labels": np.ones((2, 3), int)}, r"labels .*\(2, 3\).* 2 samples; leave"),
        ({"labels": np.array(["cat", "dog"])}, r"labels .*<U3.*numpy\.unique\("),
        ({"labels": np.array([0, 2]), "class_names": np.array(["a", "b"])}, "label is 2.* 2 class"),
        ({"labels": np.array([0, 1]), "class_names": np.array(5)}, r"int64 .*\(\)"),
        ({"labels": np.array([0, 1]), "class_names": np.array("ab")}, r"<U2 .*\(\)"),
        ({"labels": np.array([0, 1]), "class_names": np.array([["a"], ["b"]])}, r"shape \(2, 1\)"),
        ({"labels": np.array([0, 1]), "class_names": np.array([0.5, np.nan])}, "float64"),
        ({"labels": np.array([0, None])}, "labels holds Python objects"),
    ],
)
def test_invalid_labels_matter_only_where_labels_are_used(labels: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = archive(tmp_path, images=GREY, **labels)
    with pytest.raises(DataError, match=message):
        open_source(str(path), ImageKind("L", 6))
    source = open_source(str(path), ImageKind("L", 6), labels=False)
    assert (source.classes, source.labelled, source.read(1).label) == (None, False, None)


def test_images_without_a_label(tmp_path: Path) -> None:
    source = ImageArchive(Location(archive(tmp_path, images=GREY, labels=np.array([-1, 1]))))
    assert [source.read(index).label for index in range(2)] == [None, 1]


def test_images_with_one_channel(tmp_path: Path) -> None:
    image = ImageArchive(Location(archive(tmp_path, images=GREY[..., None])), "L").read(1).content
    assert np.array_equal(np.asarray(image), GREY[1])


def test_labels_show_that_narrow_images_are_not_one(tmp_path: Path) -> None:
    source = ImageArchive(Location(archive(tmp_path, images=np.stack([GREY[0]] * 3, 2), labels=np.arange(4))), "L")
    assert len(source) == 4
    assert source.read(0).content.size == (3, 5)


def test_damaged(tmp_path: Path) -> None:
    path = archive(tmp_path, images=GREY)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=path.name):
        ImageArchive(Location(path))
    path.write_bytes(content[:100] + b"\xff" * 20 + content[120:])
    with pytest.raises(DataError, match=path.name):
        ImageArchive(Location(path))
