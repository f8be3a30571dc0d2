"""The data set of a measurement: its parts and notes, and when it is continued."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradmeter.errors import DataError, OutputError
from gradmeter.runs.measuring import MeasuredSet, Skipped
from gradmeter.runs.measuring.dataset import Note

PURPOSE = {"model": "m", "classes": ("a", "b"), "data": "d"}
TABLE = pa.table({"id": ["x", "y"]})


def test_parts_are_one_data_set(tmp_path: Path) -> None:
    measured = MeasuredSet.begin(tmp_path / "r.parquet", PURPOSE)
    assert not measured.note(0)
    measured.write(0, TABLE, [Skipped("é", "why")])
    measured.write(1, None, [Skipped("z", "all")])
    measured.write(2, TABLE, [])
    assert all(measured.note(part) for part in range(3))
    assert [measured.note(part) for part in range(3)] == [
        Note(2, (Skipped("é", "why"),)),
        Note(0, (Skipped("z", "all"),)),
        Note(2, ()),
    ]
    assert pq.read_table(tmp_path / "r.parquet")["id"].to_pylist() == ["x", "y", "x", "y"]
    assert [table.num_rows for table in measured.tables()] == [2, 2]


def test_a_part_whose_writer_was_killed_is_measured_again(tmp_path: Path) -> None:
    measured = MeasuredSet.begin(tmp_path / "r", PURPOSE)
    pq.write_table(TABLE, tmp_path / "r/part-00000.parquet")  # killed before it wrote the note
    (tmp_path / "r/.part-00001.parquet.77-0123abcd.partial").write_bytes(b"half")
    measured = MeasuredSet.begin(tmp_path / "r", PURPOSE)
    assert not measured.note(0)
    assert not list((tmp_path / "r").glob(".*"))


def test_a_data_set_that_is_removed_while_it_is_written_is_not_written_on(tmp_path: Path) -> None:
    measured = MeasuredSet.begin(tmp_path / "r", PURPOSE)
    measured.write(0, TABLE, [])
    shutil.rmtree(tmp_path / "r")
    with pytest.raises(OutputError, match=r"r was removed or moved"):
        measured.write(1, TABLE, [])
    assert not (tmp_path / "r").exists()


def test_another_measurement_cannot_be_continued(tmp_path: Path) -> None:
    MeasuredSet.begin(tmp_path / "r", PURPOSE).write(0, TABLE, [])
    with pytest.raises(OutputError, match=r"data was d, is e\b.*--fresh"):
        MeasuredSet.begin(tmp_path / "r", {**PURPOSE, "data": "e"})
    assert MeasuredSet.begin(tmp_path / "r", PURPOSE).note(0)
    assert not MeasuredSet.begin(tmp_path / "r", {**PURPOSE, "data": "e"}, fresh=True).note(0)


@pytest.mark.parametrize("skipped", [False, True])
def test_a_measurement_without_a_row_is_made_anew(skipped: bool, tmp_path: Path) -> None:
    """As one that was refused because a label is none of the network's classes, and is then corrected."""
    measured = MeasuredSet.begin(tmp_path / "r", PURPOSE)
    if skipped:
        measured.write(0, None, [Skipped("a", "no image")])
    corrected = MeasuredSet.begin(tmp_path / "r", {**PURPOSE, "data": "e"})
    assert corrected.purpose()["data"] == "e"
    assert not corrected.by_id
    assert not corrected.complete()


@pytest.mark.parametrize("fresh", [False, True])
def test_what_another_command_wrote_is_left_alone(fresh: bool, tmp_path: Path) -> None:
    MeasuredSet.begin(tmp_path / "r", PURPOSE).write(0, TABLE, [])
    with pytest.raises(OutputError, match=r"r holds readings and not verdicts; choose another folder"):
        MeasuredSet.begin(tmp_path / "r", PURPOSE, fresh=fresh, content="verdicts")
    assert MeasuredSet.begin(tmp_path / "r", PURPOSE).note(0)


@pytest.mark.parametrize("fresh", [False, True])
def test_other_files_are_left_alone(fresh: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_text("mine")
    for name in ("file", "folder"):
        with pytest.raises(OutputError, match=rf"{name} .*\bfile\b"):
            MeasuredSet.begin(tmp_path / name, PURPOSE, fresh=fresh)
    assert (tmp_path / "file").read_text() == (tmp_path / "folder/file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/.DS_Store").write_text("")
    MeasuredSet.begin(tmp_path / "empty", PURPOSE, fresh=fresh)


@pytest.mark.parametrize("fresh", [False, True])
def test_files_that_others_put_beside_a_data_set(fresh: bool, tmp_path: Path) -> None:
    """As macOS does when the folder is opened."""
    MeasuredSet.begin(tmp_path / "r", PURPOSE).write(0, TABLE, [])
    (tmp_path / "r/.DS_Store").write_text("")
    measured = MeasuredSet.begin(tmp_path / "r", PURPOSE, fresh=fresh)
    assert measured.exists()
    assert bool(measured.note(0)) is not fresh
    assert (tmp_path / "r/.DS_Store").exists()


def test_reading_a_missing_or_damaged_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gradmeter measure"):
        MeasuredSet(tmp_path).purpose()
    measured = MeasuredSet.begin(tmp_path / "r", PURPOSE)
    with pytest.raises(DataError, match="gradmeter measure"):
        list(measured.tables())
    part = tmp_path / "r/part-00000.parquet"
    part.write_bytes(b"no")
    with pytest.raises(DataError, match=r"part-00000\.parquet"):
        list(measured.tables())
    measured.write(0, pa.table({"value": np.random.default_rng(0).random(1000)}), [])
    content = bytearray(part.read_bytes())
    content[len(content) // 4] ^= 1
    part.write_bytes(content)
    with pytest.raises(DataError, match=r"part-00000\.parquet.*damaged"):
        list(measured.tables())


def test_a_torn_part_is_removed_if_all_its_samples_are_skipped(tmp_path: Path) -> None:
    measured = MeasuredSet.begin(tmp_path / "r", PURPOSE)
    pq.write_table(TABLE, tmp_path / "r/part-00000.parquet")  # killed before it wrote the note
    measured.write(0, None, [Skipped("x", "gone"), Skipped("y", "gone")])
    assert not list((tmp_path / "r").glob("*.parquet"))


def test_more_than_a_hundred_thousand_parts_are_in_order(tmp_path: Path) -> None:
    measured = MeasuredSet.begin(tmp_path / "r", PURPOSE)
    for part, name in ((100_000, "b"), (99_999, "a")):
        measured.write(part, pa.table({"id": [name]}), [])
    assert [table["id"].to_pylist() for table in measured.tables()] == [["a"], ["b"]]
