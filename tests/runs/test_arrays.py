from pathlib import Path

import numpy as np
import pytest

from gradmeter import DataError
from gradmeter.runs.arrays import read_array, read_arrays, write_arrays


def test_arrays_come_back(tmp_path: Path) -> None:
    written = {"names": np.array(["a", "b/c"]), "numbers": np.arange(6).reshape(2, 3), "none": np.empty(0)}
    write_arrays(tmp_path / "folder" / "part.npz", written)
    read = read_arrays(tmp_path / "folder" / "part.npz")
    assert read.keys() == written.keys()
    for name, values in written.items():
        np.testing.assert_array_equal(read[name], values)
    np.testing.assert_array_equal(read_array(tmp_path / "folder" / "part.npz", "numbers"), written["numbers"])
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["part.npz"]


@pytest.mark.parametrize("kept", [None, 0, 10, 200, 500])
def test_a_missing_or_damaged_file(tmp_path: Path, kept: int | None) -> None:
    path = tmp_path / "part.npz"
    if kept is not None:
        write_arrays(path, {"numbers": np.random.default_rng(0).random(100)})
        path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"part\.npz (cannot be read|is damaged)"):
        read_arrays(path)


def test_damage_is_no_reason_to_unpickle(tmp_path: Path) -> None:
    path = tmp_path / "part.npz"
    for content in (b"x", b"\x80\x04no archive"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"part\.npz is damaged") as raised:
            read_arrays(path)
        assert "pickle" not in str(raised.value)
        assert "\n" not in str(raised.value)


def test_an_array_that_is_not_there(tmp_path: Path) -> None:
    write_arrays(tmp_path / "part.npz", {"numbers": np.zeros(3)})
    with pytest.raises(DataError, match="damaged"):
        read_array(tmp_path / "part.npz", "names")
