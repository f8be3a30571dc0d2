import math
import re
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gradmeter.errors import DataError, InputError
from gradmeter.sources.samples.archives import open_archive
from gradmeter.sources.samples.folders import ImageFolder
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.one_per import OnePer
from gradmeter.sources.samples.sample import Source
from gradmeter.sources.samples.tables import ParquetTable
from sources.samples.pictures import encoded, gradient, save

PATIENT = r"p(\d+)_"


def folder(path: Path, *, patients: int = 3) -> ImageFolder:
    for patient in range(patients):
        for number in range(4):
            save(path / f"{'cat' if number % 2 else 'dog'}/p{patient}_{number}.png", shade=10 * patient + number)
    save(path / "dog/other.png")
    return ImageFolder(Location(path))


def ids(source: OnePer) -> list[str]:
    return [source.id(index) for index in range(len(source))]


def test_one_sample_of_each_patient_and_all_of_none(tmp_path: Path) -> None:
    source = OnePer(folder(tmp_path), PATIENT, is_column=False)
    assert len(source) == 4
    matches = [re.search(PATIENT, sample) for sample in ids(source)]
    assert sorted("" if match is None else match[1] for match in matches) == ["", "0", "1", "2"]
    assert source.note == "4 of its 13 samples are used: one for each of 3 matches of p(\\d+)_, and 1 without a match"
    assert (source.classes, source.labelled) == (("cat", "dog"), True)
    for index, sample in enumerate(ids(source)):
        read = source.read(index)
        assert read.id == sample
        assert read.label == ("cat", "dog").index(sample.split("/")[0])


def test_the_first_parentheses_name_the_patient(tmp_path: Path) -> None:
    samples = folder(tmp_path)
    assert len(OnePer(samples, r"p\d_\d", is_column=False)) == 13  # each image for itself
    assert len(OnePer(samples, r"(?:dog|cat)/p", is_column=False)) == 3
    assert len(OnePer(samples, r"p(\d)?", is_column=False)) == 4
    # Parentheses that take no part in a match name none.
    assert len(OnePer(samples, r"(q)|\.png", is_column=False)) == 13


def test_a_pattern_that_is_no_utf8(tmp_path: Path) -> None:
    """A terminal may use another encoding."""
    assert len(OnePer(folder(tmp_path), "p(\\d)|\udce9", is_column=False).fingerprint()) == 64


def test_the_draw_stays_the_same_when_patients_are_added(tmp_path: Path) -> None:
    before = OnePer(folder(tmp_path), PATIENT, is_column=False)
    after = OnePer(folder(tmp_path, patients=30), PATIENT, is_column=False)
    assert {*ids(before)} <= {*ids(after)}
    # Not always the first one.
    assert len({sample.removesuffix(".png")[-1] for sample in ids(after)}) > 2


def test_readings_of_other_samples_are_others(tmp_path: Path) -> None:
    samples = folder(tmp_path)
    prints = {
        source.fingerprint()
        for source in (samples, OnePer(samples, PATIENT, is_column=False), OnePer(samples, "p", is_column=False))
    }
    assert len(prints) == 3


def test_a_pattern_that_matches_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--one-per patient matches no id of .*, such as cat/p0_1\.png; expected"):
        OnePer(folder(tmp_path), "patient", is_column=False).require_groups()
    for pattern in ("", "x*"):  # they match everywhere, but nothing
        with pytest.raises(InputError, match="matches no id"):
            OnePer(folder(tmp_path), pattern, is_column=False).require_groups()
    for pattern in ("(p", "p{99999999999}", "[[a]b", "(" * 5000 + ")" * 5000):
        with pytest.raises(InputError, match=rf"--one-per {re.escape(pattern)}: .*; expected a regular expression"):
            OnePer(folder(tmp_path), pattern, is_column=False)


def one_of_each(source: Source, column: str) -> dict[str, int]:
    """The number of samples that are used of each patient."""
    names = dict(zip((source.id(index) for index in range(len(source))), source.column(column), strict=True))
    return Counter(str(names[sample]) for sample in ids(OnePer(source, column, is_column=True)))


@pytest.mark.parametrize(
    "patients",
    [
        ["a", "b", "a", None, "", "b"],
        [7, 9, 7, None, None, 9],
        [7.0, 9.0, 7.0, None, math.nan, 9.0],
        [date(2026, 1, 7), date(2026, 1, 9), date(2026, 1, 7), None, None, date(2026, 1, 9)],
        pa.array(["a", "b", "a", None, None, "b"]).dictionary_encode(),
    ],
    ids=["texts", "integers", "floats", "dates", "categories"],
)
def test_a_column_of_parquet_files_names_the_patient(tmp_path: Path, patients: list[object] | pa.Array) -> None:
    image = encoded(Image.fromarray(gradient()), "png").read()
    column = patients if isinstance(patients, pa.Array) else pa.array(patients)
    table = pa.table({"image": [image] * 6, "label": [0, 1] * 3, "patient": column})
    for number in range(2):  # patients are the same in both files
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=2)
    source = ParquetTable(Location(tmp_path))
    assert source.columns == ("patient",)
    counts = one_of_each(source, "patient")
    assert sorted(counts.values()) == [1, 1, 4]
    assert counts["None"] == 4
    note = OnePer(source, "patient", is_column=True).note
    assert "6 of its 12 samples are used: one for each of 2 values of patient, and 4 without a value" in note


def test_a_column_that_is_none(tmp_path: Path) -> None:
    image = encoded(Image.fromarray(gradient()), "png").read()
    path = tmp_path / "scans.parquet"
    pq.write_table(pa.table({"image": [image] * 2, "box": [[1, 2], [3, 4]], "raw": [b"\xff", b"a"]}), path)
    source = ParquetTable(Location(path))
    with pytest.raises(DataError, match=r"scans\.parquet: column 'raw' cannot be read"):
        OnePer(source, "raw", is_column=True)
    assert source.columns == ("raw",)
    with pytest.raises(InputError, match=r"matches no id of .*, such as scans\.parquet:0; expected one of its columns"):
        OnePer(source, "patient", is_column=False).require_groups()
    assert len(OnePer(source, "scans", is_column=False)) == 1  # in the name of the file
    pq.write_table(pa.table({"image": [image], "patient": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"scans\.parquet has no column 'patient'; expected the same columns"):
        OnePer(ParquetTable(Location(tmp_path)), "patient", is_column=True)


@pytest.mark.parametrize("content", ["images", "inputs"])
def test_an_array_of_an_archive_names_the_patient(tmp_path: Path, content: str) -> None:
    path = tmp_path / "scans.npz"
    rows = np.arange(6 * 9, dtype=np.uint8).reshape(6, 3, 3) + 9
    bytes_, times = np.array([b"a", b"", b"a"] * 2), np.array(["2026-01-07", "NaT", "2026-01-07"] * 2, "M8[D]")
    columns = {"patient": bytes_, "scanner": np.array([1, math.nan, 1] * 2), "day": times, "boxes": np.zeros((6, 4))}
    columns["hour"] = np.zeros(6, "M8")
    np.savez(path, **{content: rows}, labels=np.arange(6) % 2, **columns)
    source = open_archive(Location(path))
    assert source.columns == tuple(columns)
    for column in ("patient", "scanner", "day"):
        assert sorted(one_of_each(source, column).values()) == [1, 2]
    with pytest.raises(DataError, match="hour has dtype datetime64 "):
        OnePer(source, "hour", is_column=True)
    with pytest.raises(DataError, match=r"boxes has dtype float64 and shape \(6, 4\); expected .* each of the 6"):
        OnePer(source, "boxes", is_column=True)


def test_another_draw_is_another_set(tmp_path: Path) -> None:
    prints = set()
    for patients in ("aaa", "abb"):
        np.savez(tmp_path / "s.npz", inputs=np.ones((3, 2)), patient=np.array([*patients]))
        prints.add(OnePer(open_archive(Location(tmp_path / "s.npz")), "patient", is_column=True).fingerprint())
    assert len(prints) == 2


def test_columns_of_files_that_differ(tmp_path: Path) -> None:
    """The same patient would have two names."""
    image = encoded(Image.fromarray(gradient()), "png").read()
    whole = pa.array([3 * 10**15])
    columns = {"a": whole, "b": whole.cast(pa.float64()), "c": pa.nulls(1)}
    for name, column in columns.items():
        pq.write_table(pa.table({"image": [image], "patient": column}), tmp_path / f"{name}.parquet")
    with pytest.raises(
        DataError, match=r"'patient' is int64 in a\.parquet, double in b\.parquet; expected the same type"
    ):
        OnePer(ParquetTable(Location(tmp_path)), "patient", is_column=True)
    (tmp_path / "b.parquet").unlink()
    assert len(OnePer(ParquetTable(Location(tmp_path)), "patient", is_column=True)) == 2


def test_a_column_of_texts_that_are_no_utf8(tmp_path: Path) -> None:
    image = encoded(Image.fromarray(gradient()), "png").read()
    offsets, characters = (pa.py_buffer(part) for part in (np.array([0, 1, 2], np.int32), b"a\xff"))
    texts = pa.Array.from_buffers(pa.string(), 2, [None, offsets, characters])
    pq.write_table(pa.table({"image": [image] * 2, "patient": texts}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet: column 'patient' cannot be read"):
        OnePer(ParquetTable(Location(tmp_path / "t.parquet")), "patient", is_column=True)


def test_a_column_without_values(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", inputs=np.ones((3, 2)), patient=np.array([math.nan, None, ""]).astype(str))
    source = OnePer(open_archive(Location(tmp_path / "s.npz")), "patient", is_column=True)
    assert len(source) == 3
    with pytest.raises(InputError, match=r"--one-per patient: this column of .*s\.npz is empty"):
        source.require_groups()
    np.savez(tmp_path / "s.npz", inputs=np.ones((3, 2)), patient=np.array(["a", "a", None]))
    with pytest.raises(DataError, match="patient holds Python objects; expected numbers or texts"):
        OnePer(open_archive(Location(tmp_path / "s.npz")), "patient", is_column=True)
