"""From the name of a data source, as a user gives it, to its collection."""

from __future__ import annotations

from pathlib import Path

from gradmeter.errors import DataError, InputError
from gradmeter.research.study.data.archives import load_archives
from gradmeter.research.study.data.collection import Collection
from gradmeter.research.study.data.embedded import load_embedded
from gradmeter.research.study.data.noise import CLIPPED
from gradmeter.research.study.data.torchvision_sets import load_torchvision


def load(data: str, root: Path | None = None, download: bool = False, noise_form: str = CLIPPED) -> Collection:
    """The collection of a data source.

    Args:
        data: "embedded" (real images that dependencies carry), "emnist" (the paper's data sets as published), or a
            folder of `.npz` archives.
        root: Folder of the published data sets, for "emnist" only.
        download: Fetch what is not in `root`, for "emnist" only.
        noise_form: How noise reaches a network, one of `gradmeter.research.study.data.noise.FORMS`.

    Raises:
        InputError: `root` or `download` does not go with `data`.
        DataError: The data are missing, damaged or too few.
    """
    if data == "emnist":
        if root is None:
            raise InputError("--data emnist needs --root, the folder where its files are or go")
        return load_torchvision(root, download, noise_form)
    if root is not None or download:
        raise InputError(f"--root and --download go with --data emnist only, not with --data {data}")
    if data == "embedded":
        return load_embedded(noise_form)
    if not Path(data).is_dir():
        raise DataError(f"--data {data}: expected embedded, emnist or the path of a folder of .npz archives")
    return load_archives(Path(data), noise_form)
