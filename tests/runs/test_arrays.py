from pathlib import Path

import numpy as np
import pytest

from gradmeter import DataError
from gradmeter.runs.arrays import read_arrays, write_arrays


def test_arrays_come_back(tmp_path: Path) -> None:
    written = {"names": np.array(["a", "b/c"]), "numbers": np.arange(6).reshape(2, 3), "none": np.empty(0)}
    write_arrays(tmp_path / "folder" / "part.npz", written)
    read = read_arrays(tmp_path / "folder" / "part.npz")
    assert read.keys() == written.keys()
    for name, values in written.items():
        np.testing.assert_array_equal(read[name], values)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["part.npz"]


@pytest.mark.parametrize("kept", [None, 0, 10, 200, 500])
def test_a_missing_or_damaged_file(tmp_path: Path, kept: int | None) -> None:
    path = tmp_path / "part.npz"
    if kept is not None:
        write_arrays(path, {"numbers": np.random.default_rng(0).random(100)})
        path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"part\.npz cannot be read"):
        read_arrays(path)
