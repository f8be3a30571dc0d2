"""A folder of digits in which some have a wrong label; the true one is the start of their name."""

import shutil
from pathlib import Path

import numpy as np

PLANTED = 10


def plant(source: Path, target: Path, count: int = PLANTED) -> set[str]:
    """Copy a folder with a folder per class, move `count` files to a wrong class, and return the ids of these."""
    random = np.random.default_rng(0)
    files = sorted(source.rglob("*.png"))
    wrong = set(random.choice(len(files), count, replace=False).tolist())
    planted = set()
    for number, file in enumerate(files):
        label = int(file.parent.name)
        name = f"{label}-{file.name}"
        if number in wrong:
            label = (label + int(random.integers(1, 10))) % 10
            planted.add(f"{label}/{name}")
        (target / str(label)).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target / str(label) / name)
    return planted
