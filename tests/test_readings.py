from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from gradmeter import DataError, InputError, OutputError, Readings
from gradmeter.statistics import METRICS

LAYERS = ("conv1", "block.dense", "all")
COLUMNS = [f"{layer}/{metric}" for layer in LAYERS for metric in METRICS]


def readings(samples: int = 5, dtype: torch.dtype = torch.float32, seed: int = 0) -> Readings:
    generator = torch.Generator().manual_seed(seed)
    return Readings(
        torch.randn(samples, 4, generator=generator).to(dtype),
        torch.randn(samples, generator=generator, dtype=torch.float64),
        LAYERS,
        torch.randn(samples, len(LAYERS), 8, generator=generator, dtype=torch.float64),
    )


def assert_same(actual: Readings, expected: Readings) -> None:
    assert actual.layers == expected.layers
    for name in ("logits", "log_scale", "values"):
        found, wanted = getattr(actual, name), getattr(expected, name)
        assert found.dtype == wanted.dtype
        assert torch.equal(found, wanted), name


def test_one_metric_of_one_layer() -> None:
    made = readings()
    assert torch.equal(made["block.dense", "max"], made.values[:, 1, 3])
    assert torch.equal(made["all", "kurtosis"], made.values[:, 2, 7])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (("conv9", "l2"), "no layer 'conv9'; the network has conv1, block.dense, all"),
        (("conv1", "l3"), "no metric 'l3'; there are l1, l2, min, max, mean, std, skewness, kurtosis"),
        ("conv1", "no reading 'conv1'; expected a layer and a metric"),
        (0, "no reading 0"),
    ],
)
def test_wrong_names(key: tuple[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        readings()[key]


def test_predictions_length_and_names() -> None:
    made = readings()
    assert torch.equal(made.predictions, made.logits.argmax(1))
    assert len(made) == 5
    assert made.metrics == METRICS
    assert list(made.columns) == COLUMNS
    assert repr(made) == "Readings(5 samples, 4 classes, layers: conv1, block.dense, all)"


def test_scaled_multiplies_what_has_a_scale() -> None:
    unit = readings()
    made = Readings.scaled(unit.logits, unit.log_scale, LAYERS, unit.values)
    factor = unit.log_scale.exp()[:, None]
    torch.testing.assert_close(made.values[..., :6], unit.values[..., :6] * factor[..., None])
    assert torch.equal(made.values[..., 6:], unit.values[..., 6:])


def test_scaled_by_nothing_is_zero() -> None:
    unit = readings()
    made = Readings.scaled(unit.logits, torch.full((5,), -torch.inf).double(), LAYERS, unit.values)
    assert (made.values[..., :6] == 0).all()


def test_concatenate() -> None:
    first, second = readings(3), readings(2, seed=1)
    joined = Readings.concatenate([first, second])
    assert len(joined) == 5
    assert torch.equal(joined["conv1", "l2"], torch.cat([first["conv1", "l2"], second["conv1", "l2"]]))
    assert torch.equal(joined.logits, torch.cat([first.logits, second.logits]))
    assert torch.equal(joined.log_scale, torch.cat([first.log_scale, second.log_scale]))


def test_concatenate_nothing() -> None:
    with pytest.raises(InputError, match="expected at least one"):
        Readings.concatenate([])


def test_concatenate_different_networks() -> None:
    made = readings()
    other = Readings(made.logits, made.log_scale, ("conv1", "conv2", "all"), made.values)
    with pytest.raises(InputError, match="different networks"):
        Readings.concatenate([made, other])


@pytest.mark.parametrize(
    ("taken", "rows"),
    [
        (np.array([True, False, False, True, True]), [0, 3, 4]),
        (np.array([4, 0, 4]), [4, 0, 4]),
        (np.arange(5)[::-1], [4, 3, 2, 1, 0]),
        (np.zeros(5, np.bool_), []),
    ],
)
def test_rows(taken: np.ndarray, rows: list[int]) -> None:
    made = readings()
    assert_same(made.rows(taken), Readings(made.logits[rows], made.log_scale[rows], LAYERS, made.values[rows]))


def test_to_numpy() -> None:
    made = readings()
    arrays = made.to_numpy()
    assert list(arrays) == ["prediction", "log_scale", "logits", *COLUMNS]
    np.testing.assert_array_equal(arrays["block.dense/min"], made["block.dense", "min"].numpy())
    np.testing.assert_array_equal(arrays["prediction"], made.logits.argmax(1).numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arrow_round_trip_is_exact(dtype: torch.dtype) -> None:
    made = readings(dtype=dtype)
    made.values[0, 0, 0] = 5e-324
    made.log_scale[1] = -torch.inf
    assert_same(Readings.from_arrow(made.to_arrow()), made)


def test_half_precision_logits_come_back_as_float32() -> None:
    made = readings(dtype=torch.bfloat16)
    back = Readings.from_arrow(made.to_arrow())
    assert back.logits.dtype == torch.float32
    assert torch.equal(back.logits, made.logits.float())


def test_arrow_of_slices_and_chunks() -> None:
    made = readings()
    table = made.to_arrow()
    back = Readings.from_arrow(pa.concat_tables([table.slice(3), table.slice(0, 3)]))
    order = torch.tensor([3, 4, 0, 1, 2])
    assert_same(back, Readings(made.logits[order], made.log_scale[order], LAYERS, made.values[order]))


def test_an_empty_table_keeps_its_classes() -> None:
    back = Readings.from_arrow(readings().to_arrow().slice(0, 0))
    assert back.logits.shape == (0, 4)
    assert back.values.shape == (0, len(LAYERS), 8)


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
def test_arrow_without_its_note_and_with_lists_of_any_length(kind: Any) -> None:
    made = readings()
    table = made.to_arrow().append_column("someone/else", pa.array(range(5)))
    logits = table["logits"].cast(kind(pa.float32()))
    table = table.set_column(table.column_names.index("logits"), "logits", logits)
    assert_same(Readings.from_arrow(table.replace_schema_metadata()), made)
    assert_same(Readings.from_arrow(table.slice(1).replace_schema_metadata()), made.rows(np.arange(1, 5)))
    assert len(Readings.from_arrow(table.slice(0, 0).replace_schema_metadata())) == 0


def test_without_a_note_layers_keep_dots_and_slashes() -> None:
    made = readings()
    renamed = Readings(made.logits, made.log_scale, ("a/b.0", "0", "all"), made.values)
    assert_same(Readings.from_arrow(renamed.to_arrow().replace_schema_metadata()), renamed)


def test_arrow_with_a_column_of_someone_else() -> None:
    made = readings()
    assert_same(Readings.from_arrow(made.to_arrow().append_column("label", pa.array(range(5)))), made)


def test_what_is_read_can_be_written() -> None:
    back = Readings.from_arrow(readings().to_arrow())
    back.values.zero_()
    assert (back["all", "l1"] == 0).all()


def test_parquet_round_trip_is_exact(tmp_path: Path) -> None:
    made = readings()
    made.write_parquet(tmp_path / "new" / "a.parquet")
    assert_same(Readings.read_parquet(tmp_path / "new" / "a.parquet"), made)
    made.write_parquet(str(tmp_path / "b.parquet"))
    assert_same(Readings.read_parquet(str(tmp_path / "b.parquet")), made)
    assert sorted(path.name for path in tmp_path.rglob("*.parquet*")) == ["a.parquet", "b.parquet"]


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*a\.parquet"):
        readings().write_parquet(tmp_path / "file" / "a.parquet")


def test_to_pandas() -> None:
    made = readings()
    frame = made.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ["prediction", "log_scale", "logits", *COLUMNS]
    np.testing.assert_array_equal(frame["conv1/std"], made["conv1", "std"].numpy())
    np.testing.assert_array_equal(np.stack(frame["logits"]), made.logits.numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pandas_round_trip_is_exact(dtype: torch.dtype) -> None:
    made = readings(dtype=dtype)
    made.log_scale[1] = -torch.inf
    assert_same(Readings.from_pandas(made.to_pandas()), made)


def test_pandas_may_read_what_was_written_and_choose(tmp_path: Path) -> None:
    made = readings()
    made.write_parquet(tmp_path / "a.parquet")
    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert_same(Readings.from_pandas(frame), made)
    frame["label"] = [0, 1, 2, 3, 0]
    assert_same(Readings.from_pandas(frame.sort_values("label")), made.rows(np.array([0, 4, 1, 2, 3])))
    assert_same(Readings.from_pandas(frame[frame["label"] > 1].set_index("label")), made.rows(np.array([2, 3])))


@pytest.mark.parametrize("columns", [{"x": [1, 2]}, {"logits": [[1.0]], "log_scale": [0.0], "conv1/l1": [1.0]}])
def test_foreign_table(columns: dict[str, list[Any]]) -> None:
    with pytest.raises(DataError, match="holds no gradmeter readings"):
        Readings.from_arrow(pa.table(columns))
    with pytest.raises(DataError, match="holds no gradmeter readings"):
        Readings.from_pandas(pd.DataFrame(columns))


def test_without_a_note_a_column_may_lack_too() -> None:
    with pytest.raises(DataError, match="lacks logits, conv1/l2"):
        Readings.from_pandas(readings().to_pandas().drop(columns=["logits", "conv1/l2"]))


def test_table_without_a_column() -> None:
    table = readings().to_arrow()
    with pytest.raises(DataError, match="lacks log_scale, conv1/l2"):
        Readings.from_arrow(table.drop_columns(["log_scale", "conv1/l2"]))


@pytest.mark.parametrize("note", [b"{", b"[]", b'{"layers": 3, "metrics": []}', b'{"layers": ["all"]}', b"\xff"])
def test_damaged_note(note: bytes) -> None:
    with pytest.raises(DataError, match="note on its layers is damaged"):
        Readings.from_arrow(readings().to_arrow().replace_schema_metadata({b"gradmeter": note}))


def test_metrics_of_another_version() -> None:
    note = b'{"layers": ["all"], "metrics": ["l1"]}'
    with pytest.raises(DataError, match="metrics known to this version"):
        Readings.from_arrow(readings().to_arrow().replace_schema_metadata({b"gradmeter": note}))


NUMBERS = [[1.0, 2.0, 3.0, 4.0]] * 3


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (pa.array(range(4)), "logits are of type int64; expected lists, as to_arrow makes"),
        (pa.array([[1.0, 2.0], [1.0], [1.0, 2.0, 3.0], [1.0, 2.0]]), "lists of different lengths; expected one number"),
        (pa.array([*NUMBERS, []]), "lists of different lengths"),
        # Twelve numbers, as four rows of three classes would have.
        (pa.array([*NUMBERS, None]), "lists of different lengths"),
        (pa.array([*NUMBERS, None], pa.list_(pa.float64(), 4)), "lists of different lengths"),
    ],
)
def test_logits_of_another_type(logits: pa.Array, message: str) -> None:
    table = readings(4).to_arrow()
    with pytest.raises(DataError, match=message):
        Readings.from_arrow(table.set_column(table.column_names.index("logits"), "logits", logits))


def test_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    readings().write_parquet(path)
    whole: bytes = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"PAR1", whole[:4] + b"\0" * (len(whole) - 8) + whole[-4:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.parquet is no readable Parquet file"):
            Readings.read_parquet(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.parquet is no readable Parquet file"):
        Readings.read_parquet(tmp_path / "a.parquet")
