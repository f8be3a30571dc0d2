"""Arrays of an `.npz` archive; nothing in it is unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gradmeter.errors import DataError

Array = npt.NDArray[Any]


def read_arrays(path: Path, wanted: Collection[str]) -> dict[str, Array]:
    """The wanted arrays that an archive holds; of any other only the name, with an empty array.

    Raises:
        DataError: The archive is damaged, or a wanted array holds Python objects.
    """
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is truncated or not an .npz archive; copy or make it anew")
    try:
        with np.load(path, allow_pickle=False) as archive:
            # asarray: a member that is no array comes as bytes.
            return {name: np.asarray(archive[name]) if name in wanted else np.empty(0) for name in archive.files}
    except (OSError, EOFError, ValueError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if "Object arrays" in str(error):
            raise DataError(f"{path} holds Python objects, expected plain numbers; save it without objects") from error
        raise DataError(f"{path} is damaged ({error}); copy or make it anew") from error
