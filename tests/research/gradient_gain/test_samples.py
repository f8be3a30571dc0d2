from pathlib import Path

import numpy as np
import pytest
import torch

from gradmeter import DataError
from gradmeter.research.gradient_gain.samples import Archive, third, without


def test_thirds_are_disjoint_and_complete() -> None:
    parts = [third(100, number) for number in range(3)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    assert len(third(100, 1, 5)) == 5
    assert set(third(100, 1, 5)) < set(parts[1])


def test_the_others_are_shuffled_and_hold_none_of_the_test_rows() -> None:
    rest = without(100, third(100, 0), seed=1)
    assert sorted(rest.tolist()) == sorted({*range(100)} - {*third(100, 0).tolist()})
    assert rest.tolist() != sorted(rest.tolist())
    assert rest.tolist() != without(100, third(100, 0), seed=2).tolist()


def write(folder: Path, name: str, **arrays: object) -> Path:
    path = folder / f"{name}.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_images_and_labels_stay_together(tmp_path: Path) -> None:
    labels = np.arange(50) % 10
    pixels = np.broadcast_to((labels * 20).astype(np.uint8)[:, None, None, None], (50, 32, 32, 3))
    write(tmp_path, "emnist_digits", images=pixels[..., 0][:, :28, :28], labels=labels)
    write(tmp_path, "cifar10_test", images=pixels, labels=labels)
    for name, shape in (("emnist_digits", (7, 1, 28, 28)), ("cifar10_test", (7, 3, 32, 32))):
        archive = Archive.read(tmp_path, name)
        assert len(archive) == 50
        samples = archive.take(np.arange(7))
        assert samples.inputs.shape == shape
        torch.testing.assert_close(samples.inputs.amax(dim=(1, 2, 3)), samples.labels * 20 / 255)
    padded = Archive.read(tmp_path, "emnist_digits").colour(np.arange(7))
    assert padded.shape == (7, 3, 32, 32)
    assert padded[:, :, 0].max() == 0


IMAGES, LABELS = np.zeros((5, 28, 28), np.uint8), np.arange(5)


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"images": IMAGES.astype(np.float64), "labels": LABELS}, "float64"),
        ({"images": np.zeros((5, 28, 56), np.uint8), "labels": LABELS}, r"\(5, 28, 56\).* \[n, 28, 28\]"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, r"\(0, 28, 28\)"),
        ({"images": IMAGES, "labels": LABELS[:4]}, r"\(4,\).*5 images"),
        ({"images": IMAGES, "labels": LABELS / 2}, "float64"),
        ({"images": IMAGES, "labels": LABELS + 6}, r"6 to 10, expected 0\.\.9"),
        ({"images": IMAGES, "labels": LABELS - 1}, r"-1 to 3, expected 0\.\.9"),
        ({"images": IMAGES}, "'labels'"),
        ({"labels": LABELS}, "'images'"),
    ],
)
def test_archives_of_another_form_are_refused(arrays: dict[str, np.ndarray], named: str, tmp_path: Path) -> None:
    path = write(tmp_path, "emnist_digits", **arrays)
    with pytest.raises(DataError, match=named) as raised:
        Archive.read(tmp_path, "emnist_digits")
    assert str(path) in str(raised.value)


def test_unknown_images_need_no_labels(tmp_path: Path) -> None:
    for labels in ({}, {"labels": np.full(5, 99)}):
        write(tmp_path, "emnist_letters", images=IMAGES, **labels)
        assert len(Archive.read(tmp_path, "emnist_letters")) == 5


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"notmnist\.npz"):
        Archive.read(tmp_path, "notmnist")


def test_the_rows_are_those_of_the_file(tmp_path: Path) -> None:
    labels = np.arange(50)
    write(tmp_path, "notmnist", images=np.zeros((50, 28, 28), np.uint8), labels=labels)
    archive = Archive.read(tmp_path, "notmnist")
    assert (labels[archive.rows] == archive.labels).all()
    assert archive.rows.tolist() != labels.tolist()
