from __future__ import annotations

import numpy as np
import pytest
import torch

from gradmeter.errors import DataError
from gradmeter.research.study.data import Concept

IMAGES = np.arange(5 * 28 * 28).reshape(5, 28, 28).astype(np.uint8)
LABELS = np.arange(5, dtype=np.int64)


def test_take_keeps_images_and_labels_together() -> None:
    taken = Concept("digits", IMAGES, LABELS).take([3, 1])
    assert len(taken) == 2
    np.testing.assert_array_equal(taken.images, IMAGES[[3, 1]])
    np.testing.assert_array_equal(taken.labels, [3, 1])
    assert Concept("noise", IMAGES).take(slice(2)).labels is None


def test_to_tensor_divides_uint8_by_255_and_adds_a_channel() -> None:
    tensor = Concept("digits", IMAGES).to_tensor()
    assert tensor.shape == (5, 1, 28, 28)
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor[:, 0].numpy(), IMAGES / 255, rtol=1e-6)


def test_to_tensor_copies_float_images_as_they_are() -> None:
    images = np.full((2, 28, 28), -3.5, np.float32)
    images.flags.writeable = False
    tensor = Concept("normal", images).to_tensor()
    tensor[0] = 1
    assert images.min() == images.max() == -3.5
    assert (tensor[1] == -3.5).all()


@pytest.mark.parametrize(
    ("images", "labels", "named"),
    [
        (np.zeros((5, 28), np.uint8), None, r"\(5, 28\)"),
        (np.zeros((5, 32, 32), np.uint8), None, r"\(5, 32, 32\)"),
        (IMAGES.astype(np.float64), None, "float64"),
        (IMAGES, LABELS[:4], r"\(4,\)"),
        (IMAGES, LABELS.astype(np.uint8), "uint8"),
    ],
)
def test_wrong_arrays_are_named(images: np.ndarray, labels: np.ndarray | None, named: str) -> None:
    with pytest.raises(DataError, match=f"^letters: .*{named}"):
        Concept("letters", images, labels)
