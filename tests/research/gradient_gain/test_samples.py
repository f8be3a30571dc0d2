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


def test_images_and_labels_stay_together(tmp_path: Path) -> None:
    labels = np.arange(50) % 10
    pixels = np.broadcast_to((labels * 20).astype(np.uint8)[:, None, None, None], (50, 32, 32, 3))
    np.savez(tmp_path / "grey.npz", images=pixels[..., 0][:, :28, :28], labels=labels)
    np.savez(tmp_path / "colour.npz", images=pixels, labels=labels)
    for name, shape in (("grey", (7, 1, 28, 28)), ("colour", (7, 3, 32, 32))):
        archive = Archive.read(tmp_path, name)
        assert len(archive) == 50
        samples = archive.take(np.arange(7))
        assert samples.inputs.shape == shape
        torch.testing.assert_close(samples.inputs.amax(dim=(1, 2, 3)), samples.labels * 20 / 255)
    padded = Archive.read(tmp_path, "grey").colour(np.arange(7))
    assert padded.shape == (7, 3, 32, 32)
    assert padded[:, :, 0].max() == 0


def test_bad_archives(tmp_path: Path) -> None:
    np.savez(tmp_path / "float.npz", images=np.zeros((3, 8, 8)), labels=np.zeros(3))
    with pytest.raises(DataError, match="float64"):
        Archive.read(tmp_path, "float")
    with pytest.raises(DataError, match=r"none\.npz"):
        Archive.read(tmp_path, "none")


def test_the_rows_are_those_of_the_file(tmp_path: Path) -> None:
    labels = np.arange(50)
    np.savez(tmp_path / "some.npz", images=np.zeros((50, 8, 8), np.uint8), labels=labels)
    archive = Archive.read(tmp_path, "some")
    assert (labels[archive.rows] == archive.labels).all()
    assert archive.rows.tolist() != labels.tolist()
