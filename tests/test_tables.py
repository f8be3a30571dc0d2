"""Tables in files of any name."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from gradmeter.tables import read_metadata, read_table, write_table

TABLE = pa.table({"id": ["a", "b"], "value": [1, 2]})


@pytest.mark.parametrize("name", ["table.parquet", "\udcff\n é.parquet"])
def test_a_name_that_arrow_rejects(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write_table(path, TABLE.replace_schema_metadata({"note": "mine"}))
    assert read_table(path).equals(TABLE)
    assert read_table(path, columns=["id"], filters=pc.field("value") > 1)["id"].to_pylist() == ["b"]
    assert read_metadata(path) == {b"note": b"mine"}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_process_that_ends_right_after_reading_is_not_aborted(tmp_path: Path) -> None:
    """Arrow's threads read ahead in a file of Python, and abort the process if it ends meanwhile."""
    write_table(tmp_path / "table.parquet", pa.table({"number": range(100_000)}))
    code = "import sys, torch\nfrom pathlib import Path\nfrom gradmeter.tables import read_table\n"
    command = [sys.executable, "-c", code + "read_table(Path(sys.argv[1]))", str(tmp_path / "table.parquet")]
    for _ in range(8):
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_what_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "missing")
    (tmp_path / "text").write_text("text")
    with pytest.raises(pa.ArrowInvalid):
        read_table(tmp_path / "text")
    write_table(tmp_path / "plain", TABLE)
    assert read_metadata(tmp_path / "plain") == {}
