"""Data sources by name."""

from __future__ import annotations

from pathlib import Path

from gradmeter.errors import DataError, InputError
from gradmeter.research.study.data.archives import load_archives
from gradmeter.research.study.data.collection import Collection
from gradmeter.research.study.data.embedded import load_embedded
from gradmeter.research.study.data.noise import CLIPPED
from gradmeter.research.study.data.torchvision_sets import load_torchvision


def load(data: str, root: Path | None = None, download: bool = False, noise_form: str = CLIPPED) -> Collection:
    """Load the collection of a data source.

    Args:
        data: "embedded" (real images of installed packages), "emnist" (the paper's published data sets), or the path of
            a folder of `.npz` archives.
        root: folder of the published data sets, for "emnist" only.
        download: whether to download missing data sets to `root`, for "emnist" only.
        noise_form: form of the noise images, one of `gradmeter.research.study.data.noise.FORMS`.

    Raises:
        InputError: `data` does not take `root` or `download`, or needs `root`.
        DataError: images are missing, damaged or too few.
    """
    if data == "emnist":
        if root is None:
            raise InputError("--data emnist needs --root, the folder of its files")
        return load_torchvision(root, download, noise_form)
    if root is not None or download:
        raise InputError(f"--root and --download go with --data emnist only, not with --data {data}")
    if data == "embedded":
        return load_embedded(noise_form)
    if not Path(data).is_dir():
        raise DataError(f"--data {data}: expected embedded, emnist or the path of a folder of .npz archives")
    return load_archives(Path(data), noise_form)
