"""Arrays of an `.npz` archive; nothing in it is unpickled."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from gradmeter.errors import DataError, one_line

Array = npt.NDArray[Any]


def read_arrays(path: Path | str, wanted: Collection[str], file: IO[bytes] | None = None) -> dict[str, Array]:
    """The wanted arrays that an archive holds; of any other only the name, with an empty array.

    Args:
        path: of the archive, or its name where it is open already.
        wanted: names of arrays.
        file: the open archive, if it does not lie on this machine.

    Raises:
        DataError: The archive is damaged, or a wanted array holds Python objects.
    """
    source = path if file is None else file
    if not zipfile.is_zipfile(source):
        raise DataError(f"{path} is truncated or not an .npz archive; copy or make it anew")
    try:
        with np.load(source, allow_pickle=False) as archive:
            _require_memory(path, archive, wanted)
            # asarray: a member that is no array comes as bytes.
            return {name: np.asarray(archive[name]) if name in wanted else np.empty(0) for name in archive.files}
    except (OSError, EOFError, ValueError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if "Object arrays" in str(error):
            raise DataError(f"{path} holds Python objects, expected plain numbers; save it without objects") from error
        raise DataError(f"{path} is damaged ({one_line(error)}); copy or make it anew") from error


def _require_memory(path: Path | str, archive: Any, wanted: Collection[str]) -> None:
    """Refuse what would unpack to more than this machine has: a few kilobytes may become any number of gigabytes."""
    size = sum(one.file_size for one in archive.zip.infolist() if one.filename.removesuffix(".npy") in wanted)
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > there:
        raise DataError(
            f"{path} holds arrays of {size / 2**30:,.0f} GiB, and this machine has {there / 2**30:,.0f} GiB of memory; "
            "make a folder of images or Parquet files of it"
        )
