"""Small archives for `--data DIR`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def archive_folder(tmp_path: Path) -> Path:
    """All five archives, with 400 digits and 60 images of every unknown set."""
    generator = np.random.default_rng(0)

    def save(stem: str, shape: tuple[int, ...], classes: int) -> None:
        images = generator.integers(0, 256, shape, np.uint8)
        np.savez(tmp_path / f"{stem}.npz", images=images, labels=generator.integers(0, classes, shape[0], np.uint8))

    save("emnist_digits", (400, 28, 28), 10)
    save("emnist_letters", (60, 28, 28), 52)
    save("cifar10_test", (60, 32, 32, 3), 10)
    save("notmnist", (60, 28, 28), 10)
    np.savez(tmp_path / "omniglot.npz", images=generator.random((60, 105, 105)) < 0.9)
    return tmp_path
