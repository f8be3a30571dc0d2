import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gradmeter.errors import DataError
from gradmeter.sources.samples import ImageKind, Unreadable, labels_elsewhere, open_source, tables
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.tables import ParquetTable
from sources.samples.pictures import encoded

OLD_PYARROW = pytest.mark.skipif(int(pa.__version__.partition(".")[0]) < 21, reason="pyarrow cannot write views")
STRINGS = [pa.large_string(), pytest.param(pa.string_view(), marks=OLD_PYARROW), pa.dictionary(pa.int32(), pa.string())]
BYTES = [pa.binary(), pa.large_binary(), pytest.param(pa.binary_view(), marks=OLD_PYARROW)]


def picture(shade: int) -> dict[str, Any]:
    return {"bytes": encoded(Image.new("RGB", (4, 4), (shade,) * 3), "PNG").getvalue(), "path": f"{shade}.png"}


def hub_table(shades: list[int], labels: list[int], names: list[str] | None) -> pa.Table:
    table = pa.table({"image": [picture(shade) for shade in shades], "label": pa.array(labels, pa.int64())})
    if names is None:
        return table
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def shades(source: ParquetTable) -> list[int]:
    return [int(np.asarray(source.read(index).content)[0, 0, 0]) for index in range(len(source))]


def test_files_that_number_the_same_classes_otherwise(tmp_path: Path) -> None:
    for number, names in enumerate((None, ["cat", "dog"], ["cat", "dog"], None)):
        pq.write_table(hub_table([1, 2], [0, 1], names), tmp_path / f"{number}.parquet")
    assert ParquetTable(Location(tmp_path)).classes == ("cat", "dog")
    pq.write_table(hub_table([1, 2], [0, 1], ["dog", "cat"]), tmp_path / "4.parquet")
    require_unused_labels(tmp_path, r"4\.parquet has other class names")


def test_a_folder_of_the_hugging_face_layout(tmp_path: Path) -> None:
    pq.write_table(hub_table([1, 2, 3], [0, 1, 0], ["cat", "dog"]), tmp_path / "train-0.parquet", row_group_size=2)
    pq.write_table(hub_table([4], [1], ["cat", "dog"]), tmp_path / "train-1.parquet")
    (tmp_path / "_notes.parquet").write_bytes(b"ignored")
    source = ParquetTable(Location(tmp_path))
    assert source.classes == ("cat", "dog")
    assert shades(source) == [1, 2, 3, 4]
    assert [source.read(index).label for index in (3, 0, 2, 1)] == [1, 0, 0, 1]
    assert [source.id(index) for index in range(4)] == [
        "train-0.parquet:0",
        "train-0.parquet:1",
        "train-0.parquet:2",
        "train-1.parquet:0",
    ]


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("train-0.parquet", "test-0.parquet"), "test, train"),
        (("my_training.parquet", "my_validation.parquet"), "training, validation"),
        (("train-0.parquet", "train-1.parquet"), None),
        (("latest.parquet", "trained.parquet", "test.parquet"), None),
        (("train.parquet", "test.parquet", "unsupervised.parquet"), "test, train"),
        (("train.parquet", "other.parquet"), None),
    ],
    ids=str,
)
def test_files_of_several_parts_of_a_data_set_are_noted(
    names: tuple[str, ...], parts: str | None, tmp_path: Path
) -> None:
    for name in names:
        pq.write_table(hub_table([1], [0], None), tmp_path / name)
    source = ParquetTable(Location(tmp_path))
    assert len(source) == len(names)
    note = f"its files are of several parts of a data set ({parts}), and are read as one"
    assert source.note == ("" if parts is None else note)


def test_labels_that_are_names(tmp_path: Path) -> None:
    table = pa.table({"image": [picture(1)["bytes"], picture(2)["bytes"]], "label": ["dog", "cat"]})
    pq.write_table(table, tmp_path / "a.parquet")
    source = ParquetTable(Location(tmp_path / "a.parquet"))
    assert source.classes == ("cat", "dog")
    assert [source.read(index).label for index in range(2)] == [1, 0]
    assert source.id(1) == "a.parquet:1"


def test_numbers_without_names_and_no_labels(tmp_path: Path) -> None:
    pq.write_table(hub_table([1], [7], None), tmp_path / "a.parquet")
    source = ParquetTable(Location(tmp_path / "a.parquet"))
    assert (source.classes, source.labelled, source.read(0).label) == (None, True, 7)
    pq.write_table(pa.table({"image": [picture(1)]}), tmp_path / "b.parquet")
    source = ParquetTable(Location(tmp_path / "b.parquet"))
    assert (source.classes, source.labelled, source.read(0).label) == (None, False, None)


def test_texts(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["good", "bad"], "label": ["+", "-"]}), tmp_path / "a.parquet")
    source = ParquetTable(Location(tmp_path / "a.parquet"))
    assert source.texts
    assert (source.read(0).content, source.read(0).label) == ("good", 0)


@pytest.mark.parametrize("kind", STRINGS, ids=str)
def test_strings_of_other_kinds(kind: pa.DataType, tmp_path: Path) -> None:
    columns = {name: pa.array(values).cast(kind) for name, values in (("text", ["ü", ""]), ("label", ["b", "a"]))}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    source = ParquetTable(Location(tmp_path / "a.parquet"))
    assert source.classes == ("a", "b")
    assert [(source.read(index).content, source.read(index).label) for index in range(2)] == [("ü", 1), ("", 0)]


@pytest.mark.parametrize("kind", BYTES, ids=str)
def test_bytes_of_other_kinds(kind: pa.DataType, tmp_path: Path) -> None:
    images = [picture(shade)["bytes"] for shade in (10, 20)]
    pq.write_table(pa.table({"image": pa.array(images, kind)}), tmp_path / "a.parquet")
    pq.write_table(
        pa.table({"image": pa.StructArray.from_arrays([pa.array(images, kind)], ["bytes"])}), tmp_path / "b.parquet"
    )
    for name in ("a.parquet", "b.parquet"):
        assert shades(ParquetTable(Location(tmp_path / name))) == [10, 20]


def test_of_several_columns_the_one_called_so(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["1"], "text": ["good"], "label": [0]}), tmp_path / "a.parquet")
    assert ParquetTable(Location(tmp_path / "a.parquet")).read(0).content == "good"


def test_labels_that_are_all_missing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["good"], "label": pa.nulls(1)}), tmp_path / "a.parquet")
    source = ParquetTable(Location(tmp_path / "a.parquet"))
    assert (source.labelled, source.classes, source.read(0).label) == (False, None, None)


def test_rows_that_cannot_be_read(tmp_path: Path) -> None:
    rows = [picture(1), None, {"bytes": None, "path": "elsewhere.png"}, {"bytes": b"no image", "path": ""}]
    pq.write_table(pa.table({"image": rows}), tmp_path / "a.parquet")
    source = ParquetTable(Location(tmp_path / "a.parquet"))
    assert int(np.asarray(source.read(0).content)[0, 0, 0]) == 1
    for index, reason in ((1, "empty"), (2, "path"), (3, "format")):
        with pytest.raises(Unreadable, match=reason):
            source.read(index)


def test_a_text_that_is_none(tmp_path: Path) -> None:
    """Programs in other languages may write strings that are not valid UTF-8."""
    offsets, content = pa.py_buffer(np.array([0, 2, 4], np.int32).tobytes()), pa.py_buffer(b"ok\xff\xfe")
    pq.write_table(pa.table({"text": pa.StringArray.from_buffers(2, offsets, content)}), tmp_path / "a.parquet")
    source = ParquetTable(Location(tmp_path / "a.parquet"))
    assert source.read(0).content == "ok"
    with pytest.raises(Unreadable, match="UTF-8"):
        source.read(1)


def test_minus_one_is_no_label(tmp_path: Path) -> None:
    pq.write_table(hub_table([1, 2], [-1, 1], ["cat", "dog"]), tmp_path / "a.parquet")
    source = ParquetTable(Location(tmp_path / "a.parquet"))
    assert [source.read(index).label for index in range(2)] == [None, 1]


@pytest.mark.parametrize(
    ("given", "read"),
    [([3.0, None, 0.0], [3, None, 0]), ([2.0, float("nan"), -1.0], [2, None, None]), ([True, False], [1, 0])],
    ids=str,
)
def test_labels_as_pandas_stores_them_where_some_are_missing(given: list[Any], read: list[Any], tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"] * len(given), "label": given}), tmp_path / "x.parquet")
    source = ParquetTable(Location(str(tmp_path / "x.parquet")))
    labels = [source.fetch(index).label for index in range(len(source))]
    assert labels == read
    assert not any(isinstance(label, bool | float) for label in labels)


def test_a_damaged_row_group(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(hub_table([1, 2], [0, 0], None), path, row_group_size=1, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    source = ParquetTable(Location(path))
    with pytest.raises(Unreadable):
        source.read(0)
    assert source.read(1).label == 0


def test_rows_before_the_damage_are_read_in_any_order(tmp_path: Path) -> None:
    texts = [f"row {number:02}; " * 9 for number in range(100)]
    path = tmp_path / "a.parquet"
    pages = {"data_page_size": 1, "write_batch_size": 10, "write_statistics": False}
    pq.write_table(pa.table({"text": texts}), path, compression="none", use_dictionary=False, **pages)
    content = bytearray(path.read_bytes())
    head = content.index(b"row 60;") - 4
    content[head - 22 : head] = b"\xff" * 22
    path.write_bytes(content)
    source = ParquetTable(Location(path))
    for index in (5, 4, 59, 99, 59, 61, 0, 0, 60):
        if index < 60:
            assert source.read(index).content == texts[index]
        else:
            with pytest.raises(Unreadable, match="row group"):
                source.read(index)


@pytest.mark.parametrize(
    "columns",
    [
        {"picture": [b"x"], "label": ["cat"]},
        {"image": [7], "label": ["cat"]},
        {"image": [b"x"], "label": [0]},
        {"image": [b"x"], "label": ["cow"]},
    ],
    ids=["another column", "images of another type", "labels of another type", "an unknown label"],
)
def test_a_file_that_is_replaced_while_it_is_read(columns: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [picture(1)["bytes"]], "label": ["cat"]}), path)
    source = ParquetTable(Location(path))
    pq.write_table(pa.table(columns), path)
    with pytest.raises(Unreadable):
        source.read(0)


@pytest.mark.parametrize("names", [None, 5, "ab", {"a": 0, "b": 1}], ids=str)
def test_a_note_whose_names_are_no_list(names: Any, tmp_path: Path) -> None:
    table = hub_table([1], [1], [])
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    note = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(note), tmp_path / "a.parquet")
    source = ParquetTable(Location(tmp_path / "a.parquet"))
    assert (source.classes, source.read(0).label) == (None, 1)


def test_a_file_that_claims_more_rows_than_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST", 3)
    pq.write_table(hub_table([1, 2, 3, 4], [0] * 4, None), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"4 rows; .* 3$"):
        ParquetTable(Location(tmp_path / "a.parquet"))


def test_the_fingerprint_tells_which_rows_there_are(tmp_path: Path) -> None:
    pq.write_table(hub_table([1], [0], None), tmp_path / "a.parquet")
    first = ParquetTable(Location(tmp_path)).fingerprint()
    assert ParquetTable(Location(tmp_path)).fingerprint() == first
    pq.write_table(hub_table([1], [0], None), tmp_path / "b.parquet")
    assert ParquetTable(Location(tmp_path)).fingerprint() != first


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"number": [1]}, "number"),
        ({"a": [b"x"], "b": [b"y"]}, r"\(a, b\).* image"),
        ({"a": ["x"], "b": ["y"]}, r"\(a, b\).* text"),
        ({"image": pa.array([], pa.binary())}, "no rows"),
        ({"image": [{"bytes": {"bytes": b"x"}}]}, "image"),
    ],
)
def test_bad_columns(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=rf"a\.parquet.*{message}"):
        ParquetTable(Location(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1.0, 0.5], "'label' contains 0.5; .*: rename the column"),
        ([0.0, float("inf")], "'label' contains inf"),
        ([0.0, 1e300], r"'label' contains 1e\+300"),
        ([[0], [1]], "'label' is list<.*: rename the column"),
    ],
)
def test_invalid_labels_matter_only_where_labels_are_used(labels: list[Any], message: str, tmp_path: Path) -> None:
    images = hub_table([1, 2], [0, 1], None).drop(["label"])
    pq.write_table(images.append_column("label", pa.array(labels)), tmp_path / "a.parquet")
    require_unused_labels(tmp_path / "a.parquet", rf"a\.parquet.*{message}")


@pytest.mark.parametrize(("labelled", "other"), [("a", "b"), ("b", "a")])
def test_labels_that_not_all_files_have(labelled: str, other: str, tmp_path: Path) -> None:
    table = hub_table([1, 2], [0, 1], None)
    pq.write_table(table, tmp_path / f"{labelled}.parquet")
    without = table.drop(["label"])
    nulls = without.append_column("label", pa.nulls(2))
    for content in (without, nulls):
        pq.write_table(content, tmp_path / f"{other}.parquet")
        require_unused_labels(
            tmp_path, rf"{other}\.parquet: column 'label' is missing or of another .* {labelled}\.parquet"
        )
    # The column has the right name already.
    assert labels_elsewhere(ParquetTable(Location(tmp_path / f"{other}.parquet"))) is None


def require_unused_labels(path: Path, message: str) -> None:
    """Require that a source is refused because of its labels, and opens where labels are not used."""
    with pytest.raises(DataError, match=message):
        open_source(str(path), ImageKind("RGB", 4))
    source = open_source(str(path), ImageKind("RGB", 4), labels=False)
    assert (source.classes, source.labelled, source.read(1).label) == (None, False, None)


@pytest.mark.parametrize("twice", ["image", "label"])
def test_two_columns_of_one_name(twice: str, tmp_path: Path) -> None:
    columns = {"image": pa.array([b"x"]), "label": pa.array([0])}
    names = [*columns, twice]
    table = pa.Table.from_arrays([columns[name] for name in names], names=names)
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=f"'{twice}'"):
        ParquetTable(Location(tmp_path / "a.parquet"))


def test_files_that_do_not_go_together(tmp_path: Path) -> None:
    pq.write_table(hub_table([1], [0], None), tmp_path / "a.parquet")
    pq.write_table(pa.table({"picture": [b"x"], "label": [0]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet.*'image'.*a\.parquet"):
        ParquetTable(Location(tmp_path))


def test_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(io.BytesIO(b"no").getvalue())
    with pytest.raises(DataError, match=r"a\.parquet"):
        ParquetTable(Location(tmp_path / "a.parquet"))
