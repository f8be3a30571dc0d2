from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from gradmeter.errors import DataError
from gradmeter.research.study.data import photographs
from gradmeter.research.study.data.photographs import crops


def test_crops_are_different_and_have_contrast() -> None:
    images = crops("cifar10", 600, seed=0).images
    assert images.shape == (600, 28, 28)
    assert images.dtype == np.uint8
    assert len(np.unique(images, axis=0)) == 600
    assert images.std(axis=(1, 2)).min() >= 10


def test_crops_come_from_both_photographs_in_luma() -> None:
    # The first and the last of six equal shares: china.jpg halved, flower.jpg at an eighth.
    images = crops("cifar10", 12, seed=0).images
    for image, name, factor in ((images[0], "china.jpg", 2), (images[-1], "flower.jpg", 8)):
        grey = np.asarray(Image.fromarray(load_sample_image(name)).convert("L").reduce(factor)).astype(int)
        windows = np.lib.stride_tricks.sliding_window_view(grey, (28, 28))
        assert np.abs(windows - image).max(axis=(2, 3)).min() <= 1


def test_same_seed_same_crops() -> None:
    first, again, other = (crops("cifar10", 60, seed).images for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_missing_photograph_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(photographs, "package_folder", lambda package, extra: tmp_path)
    with pytest.raises(DataError, match=r"china\.jpg"):
        crops("cifar10", 10, seed=0)
