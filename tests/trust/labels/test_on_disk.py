"""Arrays in temporary files: they hold what is written, and a full disk is an error, not the end of the process."""

import errno
import os
import tempfile
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from gradmeter.errors import OutputError
from gradmeter.trust.labels.on_disk import on_disk


def test_it_holds_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    array = on_disk((50, 3), np.float32)
    array[:] = np.arange(150).reshape(50, 3)
    assert isinstance(array, np.memmap)
    assert array.sum() == 150 * 149 / 2
    assert not [*tmp_path.iterdir()]
    assert on_disk((0, 3), np.float32).shape == (0, 3)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the room cannot be reserved here")
def test_its_room_is_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping of a file with holes kills the process (SIGBUS) when it writes and the disk is full."""
    kept: list[int] = []

    def temporary() -> IO[bytes]:
        file = make()
        kept.append(os.dup(file.fileno()))
        return file

    make = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", temporary)
    on_disk((1000, 100), np.float32)
    assert os.fstat(kept[0]).st_blocks * 512 >= 400_000
    os.close(kept[0])


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the room cannot be reserved here")
def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with pytest.raises(OutputError, match=r"400 bytes \(No space left on device.*TMPDIR"):
        on_disk((10, 10), np.float32)


def test_no_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(OutputError, match="TMPDIR"):
        on_disk((10, 10), np.float32)
