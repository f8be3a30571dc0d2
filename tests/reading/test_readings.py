import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from gradmeter import DataError, InputError, OutputError, Readings
from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.activations import Activations
from gradmeter.reading.statistics import ACTIVATION_METRICS, METRICS

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


def full(samples: int = 5, dtype: torch.dtype = torch.float32, first: str = "predicted", seed: int = 0) -> Readings:
    """Readings with all optional parts."""
    generator = torch.Generator().manual_seed(seed + 10)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(samples, *shape, generator=generator, dtype=torch.float64)

    plain = replace(readings(samples, dtype, seed), pseudo_label=first)
    return replace(
        plain,
        further={
            name: Readings(plain.logits, numbers(), LAYERS, numbers(len(LAYERS), 8), name)
            for name in ("predicted", "uniform", "3", "my_loss")
            if name != first
        },
        # Not all layers have an output, and the order may differ.
        activations=Activations(("block.dense", "a/b"), numbers(2, len(ACTIVATION_METRICS))),
        embedding=numbers(6).to(dtype),
        scores={"odin": numbers(), "mine/own": numbers()},
    )


def without_gradients(samples: int = 5, first: str = "predicted", seed: int = 0) -> Readings:
    """What a meter with gradients=False returns."""

    def emptied(part: Readings) -> Readings:
        return replace(part, layers=(), values=part.values[:, :0])

    original = full(samples, first=first, seed=seed)
    return replace(emptied(original), further={name: emptied(part) for name, part in original.further.items()})


def assert_same(actual: Readings, expected: Readings) -> None:
    assert actual.layers == expected.layers
    assert actual.pseudo_labels == expected.pseudo_labels
    assert [*actual.scores] == [*expected.scores]
    pairs = {}
    for label in expected.pseudo_labels:
        actual_part, expected_part = actual.for_pseudo_label(label), expected.for_pseudo_label(label)
        assert actual_part.pseudo_label == expected_part.pseudo_label == label
        for name in ("logits", "log_scale", "values"):
            pairs[f"{label}:{name}"] = getattr(actual_part, name), getattr(expected_part, name)
    pairs["embedding"] = actual.embedding, expected.embedding
    pairs |= {name: (actual.scores[name], expected.scores[name]) for name in expected.scores}
    if actual.activations is not None and expected.activations is not None:
        assert actual.activations.layers == expected.activations.layers
        pairs["activations"] = actual.activations.values, expected.activations.values
    else:
        assert actual.activations is expected.activations
    for name, (actual_part, expected_part) in pairs.items():
        if expected_part is None:
            assert actual_part is None, name
        else:
            assert actual_part.dtype == expected_part.dtype
            assert torch.equal(actual_part, expected_part), name


def test_one_metric_of_one_layer() -> None:
    original = readings()
    assert torch.equal(original["block.dense", "max"], original.values[:, 1, 3])
    assert torch.equal(original["all", "kurtosis"], original.values[:, 2, 7])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (("conv9", "l2"), "'conv9'.* conv1, block.dense, all"),
        (("conv1", "l3"), "'l3'.* l1, l2, min, max, mean, std, skewness, kurtosis"),
        ("conv1", "'conv1'"),
        (0, " 0;"),
    ],
)
def test_wrong_names(key: tuple[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        readings()[key]


def test_predictions_length_and_names() -> None:
    original = readings()
    assert torch.equal(original.predictions, original.logits.argmax(1))
    assert len(original) == 5
    assert original.metrics == METRICS
    assert list(original.columns) == COLUMNS
    assert repr(original) == "Readings(5 samples, 4 classes, layers: conv1, block.dense, all)"


def test_scaled_multiplies_what_has_a_scale() -> None:
    unit = readings()
    original = Readings.scaled(unit.logits, unit.log_scale, LAYERS, unit.values, METRICS)
    factor = unit.log_scale.exp()[:, None]
    torch.testing.assert_close(original.values[..., :6], unit.values[..., :6] * factor[..., None])
    assert torch.equal(original.values[..., 6:], unit.values[..., 6:])


def test_scaled_by_nothing_is_zero() -> None:
    unit = readings()
    original = Readings.scaled(unit.logits, torch.full((5,), -torch.inf).double(), LAYERS, unit.values, METRICS)
    assert (original.values[..., :6] == 0).all()


def test_concatenate() -> None:
    first, second = readings(3), readings(2, seed=1)
    joined = Readings.concatenate([first, second])
    assert len(joined) == 5
    assert torch.equal(joined["conv1", "l2"], torch.cat([first["conv1", "l2"], second["conv1", "l2"]]))
    assert torch.equal(joined.logits, torch.cat([first.logits, second.logits]))
    assert torch.equal(joined.log_scale, torch.cat([first.log_scale, second.log_scale]))


def test_concatenate_nothing() -> None:
    with pytest.raises(InputError):
        Readings.concatenate([])


def test_concatenate_different_networks() -> None:
    original = readings()
    other = Readings(original.logits, original.log_scale, ("conv1", "conv2", "all"), original.values)
    with pytest.raises(InputError, match="layers"):
        Readings.concatenate([original, other])


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
    original = readings()
    assert_same(
        original.rows(taken), Readings(original.logits[rows], original.log_scale[rows], LAYERS, original.values[rows])
    )


def test_to_numpy() -> None:
    original = readings()
    arrays = original.to_numpy()
    assert list(arrays) == ["prediction", "log_scale", "logits", *COLUMNS]
    np.testing.assert_array_equal(arrays["block.dense/min"], original["block.dense", "min"].numpy())
    np.testing.assert_array_equal(arrays["prediction"], original.logits.argmax(1).numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arrow_round_trip_is_exact(dtype: torch.dtype) -> None:
    original = readings(dtype=dtype)
    original.values[0, 0, 0] = 5e-324
    original.log_scale[1] = -torch.inf
    assert_same(Readings.from_arrow(original.to_arrow()), original)


def test_half_precision_logits_come_back_as_float32() -> None:
    original = readings(dtype=torch.bfloat16)
    back = Readings.from_arrow(original.to_arrow())
    assert back.logits.dtype == torch.float32
    assert torch.equal(back.logits, original.logits.float())


def test_arrow_of_slices_and_chunks() -> None:
    original = readings()
    table = original.to_arrow()
    back = Readings.from_arrow(pa.concat_tables([table.slice(3), table.slice(0, 3)]))
    order = torch.tensor([3, 4, 0, 1, 2])
    assert_same(back, Readings(original.logits[order], original.log_scale[order], LAYERS, original.values[order]))


def test_an_empty_table_keeps_its_classes() -> None:
    back = Readings.from_arrow(readings().to_arrow().slice(0, 0))
    assert back.logits.shape == (0, 4)
    assert back.values.shape == (0, len(LAYERS), 8)


def test_a_pandas_frame_without_rows() -> None:
    """It has lost the types of its columns, and with them the number of classes."""
    frame = readings().to_arrow().to_pandas().head(0)
    with pytest.raises(DataError, match="'logits' has no rows"):
        Readings.from_arrow(pa.Table.from_pandas(frame))


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
def test_arrow_without_its_note_and_with_lists_of_any_length(kind: Any) -> None:
    original = readings()
    table = original.to_arrow().append_column("someone/else", pa.array(range(5)))
    logits = table["logits"].cast(kind(pa.float32()))
    table = table.set_column(table.column_names.index("logits"), "logits", logits)
    assert_same(Readings.from_arrow(table.replace_schema_metadata()), original)
    assert_same(Readings.from_arrow(table.slice(1).replace_schema_metadata()), original.rows(np.arange(1, 5)))
    assert len(Readings.from_arrow(table.slice(0, 0).replace_schema_metadata())) == 0


def test_without_a_note_layers_keep_dots_and_slashes() -> None:
    original = readings()
    renamed = Readings(original.logits, original.log_scale, ("a/b.0", "0", "all"), original.values)
    assert_same(Readings.from_arrow(renamed.to_arrow().replace_schema_metadata()), renamed)


def test_without_a_note_a_layer_may_look_like_a_score() -> None:
    """Its columns became scores, and the statistics of the layer were lost."""
    original = readings()
    scores = {"energy": torch.arange(5, dtype=torch.float64)}
    named = Readings(original.logits, original.log_scale, ("score:conv", "0", "all"), original.values, scores=scores)
    assert_same(Readings.from_arrow(named.to_arrow().replace_schema_metadata()), named)
    assert_same(Readings.from_pandas(named.to_pandas()), named)


def test_arrow_with_a_column_of_someone_else() -> None:
    original = readings()
    assert_same(Readings.from_arrow(original.to_arrow().append_column("label", pa.array(range(5)))), original)


def test_what_is_read_can_be_written() -> None:
    back = Readings.from_arrow(readings().to_arrow())
    back.values.zero_()
    assert (back["all", "l1"] == 0).all()


def test_parquet_round_trip_is_exact(tmp_path: Path) -> None:
    original = readings()
    original.write_parquet(tmp_path / "new" / "a.parquet")
    assert_same(Readings.read_parquet(tmp_path / "new" / "a.parquet"), original)
    original.write_parquet(str(tmp_path / "b.parquet"))
    assert_same(Readings.read_parquet(str(tmp_path / "b.parquet")), original)
    assert sorted(path.name for path in tmp_path.rglob("*.parquet*")) == ["a.parquet", "b.parquet"]


def test_parquet_in_a_folder_whose_name_is_no_utf_8(tmp_path: Path) -> None:
    original, path = readings(), tmp_path / os.fsdecode(b"\xff") / "a.parquet"
    original.write_parquet(path)
    assert_same(Readings.read_parquet(path), original)
    with pytest.raises(DataError, match="xff"):
        Readings.read_parquet(path.parent)


def test_parquet_from_a_folder(tmp_path: Path) -> None:
    written = readings()
    written.write_parquet(tmp_path / "a.parquet")
    assert_same(Readings.read_parquet(tmp_path), written)


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"a\.parquet"):
        readings().write_parquet(tmp_path / "file" / "a.parquet")


def test_no_reading_takes_the_column_of_another() -> None:
    measured = full()
    layers = ("block.dense", "uniform:block.dense", "all")
    further = {name: replace(one, layers=layers) for name, one in measured.further.items()}
    with pytest.raises(UnsupportedModelError, match=r"uniform:block\.dense/l1"):
        replace(measured, layers=layers, further=further).to_numpy()
    alone = Readings(measured.logits, measured.log_scale, layers, measured.values)
    assert_same(Readings.from_arrow(alone.to_arrow()), alone)


def test_to_pandas() -> None:
    original = readings()
    frame = original.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ["prediction", "log_scale", "logits", *COLUMNS]
    np.testing.assert_array_equal(frame["conv1/std"], original["conv1", "std"].numpy())
    np.testing.assert_array_equal(np.stack(frame["logits"]), original.logits.numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pandas_round_trip_is_exact(dtype: torch.dtype) -> None:
    original = readings(dtype=dtype)
    original.log_scale[1] = -torch.inf
    assert_same(Readings.from_pandas(original.to_pandas()), original)


def test_pandas_may_read_what_was_written_and_choose(tmp_path: Path) -> None:
    original = readings()
    original.write_parquet(tmp_path / "a.parquet")
    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert_same(Readings.from_pandas(frame), original)
    frame["label"] = [0, 1, 2, 3, 0]
    assert_same(Readings.from_pandas(frame.sort_values("label")), original.rows(np.array([0, 4, 1, 2, 3])))
    assert_same(Readings.from_pandas(frame[frame["label"] > 1].set_index("label")), original.rows(np.array([2, 3])))


@pytest.mark.parametrize("columns", [{"x": [1, 2]}, {"logits": [[1.0]], "log_scale": [0.0], "conv1/l1": [1.0]}])
def test_foreign_table(columns: dict[str, list[Any]]) -> None:
    with pytest.raises(DataError, match=r"Readings.to_arrow"):
        Readings.from_arrow(pa.table(columns))
    with pytest.raises(DataError, match=r"Readings.to_arrow"):
        Readings.from_pandas(pd.DataFrame(columns))


def test_a_missing_column_without_metadata() -> None:
    with pytest.raises(DataError, match=" logits, conv1/l2"):
        Readings.from_pandas(readings().to_pandas().drop(columns=["logits", "conv1/l2"]))


def test_table_without_a_column() -> None:
    table = readings().to_arrow()
    with pytest.raises(DataError, match=" log_scale, conv1/l2"):
        Readings.from_arrow(table.drop_columns(["log_scale", "conv1/l2"]))


@pytest.mark.parametrize(
    "note", [b"{", b"[]", b'{"layers": 3, "metrics": []}', b'{"layers": ["all"]}', b"\xff", 100_000 * b"["]
)
def test_damaged_metadata(note: bytes) -> None:
    with pytest.raises(DataError, match="metadata"):
        Readings.from_arrow(readings().to_arrow().replace_schema_metadata({b"gradmeter": note}))


def test_a_table_with_fewer_statistics() -> None:
    note = b'{"layers": ["conv1", "all"], "metrics": ["l1", "max"]}'
    fewer = Readings.from_arrow(readings().to_arrow().replace_schema_metadata({b"gradmeter": note}))
    assert fewer.metrics == ("l1", "max")
    assert torch.equal(fewer["conv1", "max"], readings()["conv1", "max"])
    with pytest.raises(InputError, match=r"'l2'.* l1, max"):
        fewer["conv1", "l2"]


NUMBERS = [[1.0, 2.0, 3.0, 4.0]] * 3


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (pa.array(range(4)), "'logits'.* int64"),
        (pa.array([[1.0, 2.0], [1.0], [1.0, 2.0, 3.0], [1.0, 2.0]]), "'logits'"),
        (pa.array([*NUMBERS, []]), "'logits'"),
        # Twelve values, like four rows of three classes.
        (pa.array([*NUMBERS, None]), "'logits'"),
        (pa.array([*NUMBERS, None], pa.list_(pa.float64(), 4)), "'logits'"),
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
        with pytest.raises(DataError, match=r"a\.parquet"):
            Readings.read_parquet(path)


@pytest.mark.parametrize("name", ["conv1/l1", "log_scale", "logits"])
@pytest.mark.parametrize("value", ["a", ["a", "b"], {"a": 1}])
def test_a_column_of_no_numbers(name: str, value: Any) -> None:
    table = readings().to_arrow()
    foreign = table.set_column(table.column_names.index(name), name, pa.array([value] * 5))
    with pytest.raises(DataError, match=name):
        Readings.from_arrow(foreign)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.parquet"):
        Readings.read_parquet(tmp_path / "a.parquet")


# --- several pseudo-labels, activations, the embedding, scores


def test_under() -> None:
    original = full()
    assert original.pseudo_labels == ("predicted", "uniform", "3", "my_loss")
    assert torch.equal(original.for_pseudo_label("uniform")["all", "l2"], original.further["uniform"].values[:, 2, 1])
    assert torch.equal(original.for_pseudo_label(3).values, original.further["3"].values)
    own = original.for_pseudo_label("predicted")
    assert torch.equal(own.values, original.values)
    assert own.pseudo_labels == ("predicted",)
    assert readings().for_pseudo_label("predicted").pseudo_labels == ("predicted",)


@pytest.mark.parametrize("label", ["unifrom", 2, "my_loss:log_scale"])
def test_under_another_pseudo_label(label: Any) -> None:
    with pytest.raises(InputError, match=f"'{label}'.* predicted, uniform, 3, my_loss"):
        full().for_pseudo_label(label)
    with pytest.raises(InputError, match=f"'{label}'.* predicted$"):
        readings().for_pseudo_label(label)


def test_one_metric_of_one_output() -> None:
    activations = full().activations
    assert activations is not None
    assert activations.metrics == ACTIVATION_METRICS == (*METRICS, "positive")
    assert torch.equal(activations["a/b", "positive"], activations.values[:, 1, 8])
    with pytest.raises(InputError, match=r"'all'.* block\.dense, a/b"):
        activations["all", "l2"]
    with pytest.raises(InputError, match=r"'middle'.* l1, "):
        activations["a/b", "middle"]


def test_columns_of_everything() -> None:
    original = full()
    arrays = original.to_numpy()
    assert original.activations is not None
    assert original.embedding is not None
    further = [f"{label}:{name}" for label in ("uniform", "3", "my_loss") for name in ("log_scale", *COLUMNS)]
    outputs = [f"activation:{layer}/{metric}" for layer in ("block.dense", "a/b") for metric in ACTIVATION_METRICS]
    scores = ["score:odin", "score:mine/own", "embedding"]
    assert list(arrays) == ["prediction", "log_scale", "logits", *COLUMNS, *further, *outputs, *scores]
    np.testing.assert_array_equal(arrays["3:conv1/std"], original.for_pseudo_label(3)["conv1", "std"].numpy())
    np.testing.assert_array_equal(arrays["activation:a/b/mean"], original.activations["a/b", "mean"].numpy())
    np.testing.assert_array_equal(arrays["score:odin"], original.scores["odin"].numpy())
    np.testing.assert_array_equal(arrays["embedding"], original.embedding.numpy())
    assert original.to_arrow().column_names == list(arrays)


def parts(original: Readings) -> dict[str, Readings]:
    """Readings with different optional parts."""
    return {
        "everything": original,
        "labels": replace(original, activations=None, embedding=None, scores={}),
        "activations": replace(original, further={}, embedding=None, scores={}),
        "no outputs": replace(original, activations=Activations((), torch.empty(5, 0, 9).double())),
        "embedding": replace(original, further={}, activations=None, scores={}),
        "scores": replace(original, further={}, activations=None, embedding=None),
    }


@pytest.mark.parametrize("first", ["predicted", "uniform", "3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("part", parts(full()))
def test_everything_makes_the_round_trip(part: str, dtype: torch.dtype, first: str, tmp_path: Path) -> None:
    original = parts(full(dtype=dtype, first=first))[part]
    assert_same(Readings.from_arrow(original.to_arrow()), original)
    assert_same(Readings.from_arrow(original.to_arrow().slice(2)), original.rows(np.arange(2, 5)))
    original.write_parquet(tmp_path / "a.parquet")
    assert_same(Readings.read_parquet(tmp_path / "a.parquet"), original)
    empty = Readings.from_arrow(original.to_arrow().slice(0, 0))
    assert_same(empty, original.rows(np.empty(0, np.int64)))
    # Without the metadata.
    assert_same(Readings.from_arrow(original.to_arrow().replace_schema_metadata()), original)
    assert_same(Readings.from_pandas(original.to_pandas()), original)
    backwards = pd.read_parquet(tmp_path / "a.parquet").iloc[::-1]
    assert_same(Readings.from_pandas(backwards), original.rows(np.arange(5)[::-1]))


def test_a_column_names_another_first_pseudo_label() -> None:
    """Without it, readings whose metadata is lost would be assigned to another pseudo-label."""
    original = full(first="uniform")
    assert (original.to_pandas()["pseudo_label"] == "uniform").all()
    back = Readings.from_pandas(original.to_pandas())
    assert torch.equal(back.for_pseudo_label("predicted").values, original.for_pseudo_label("predicted").values)
    assert not torch.equal(back.for_pseudo_label("predicted").values, original.values)


def test_biases_that_were_left_out_make_every_round_trip(tmp_path: Path) -> None:
    further = {name: replace(part, biases=False) for name, part in full().further.items()}
    original = replace(full(), biases=False, further=further)
    original.write_parquet(tmp_path / "a.parquet")
    for back in (
        Readings.from_arrow(original.to_arrow()),
        Readings.from_pandas(original.to_pandas()),
        Readings.read_parquet(tmp_path / "a.parquet"),
        Readings.concatenate([original, original]),
        original.rows(np.arange(2)),
    ):
        assert not back.biases
        assert not back.for_pseudo_label("uniform").biases
    assert original.without_gradients().biases
    assert Readings.from_pandas(full().to_pandas().assign(biases=0.5)).biases  # a column of someone else
    assert Readings.from_pandas(full().to_pandas().assign(outputs=False)).activations is not None


def test_half_precision_embeddings_come_back_as_float32() -> None:
    original = full(dtype=torch.bfloat16)
    back = Readings.from_arrow(original.to_arrow())
    assert original.embedding is not None
    assert back.embedding is not None
    assert torch.equal(back.embedding, original.embedding.float())


@pytest.mark.parametrize(
    "column", ["uniform:log_scale", "my_loss:all/max", "activation:a/b/positive", "score:odin", "embedding"]
)
def test_everything_but_a_column(column: str) -> None:
    with pytest.raises(DataError, match=f" {column};"):
        Readings.from_arrow(full().to_arrow().drop_columns([column]))


def test_metadata_of_version_0_1() -> None:
    """Its metadata contained layers and metrics only."""
    note = json.dumps({"layers": LAYERS, "metrics": METRICS}).encode()
    original = readings()
    assert_same(Readings.from_arrow(original.to_arrow().replace_schema_metadata({b"gradmeter": note})), original)


def test_rows_of_everything() -> None:
    original, taken = full(), np.array([4, 0, 4])
    actual_part = original.rows(taken)
    assert actual_part.activations is not None
    assert original.activations is not None
    assert actual_part.embedding is not None
    assert original.embedding is not None
    assert torch.equal(actual_part.for_pseudo_label("3").values, original.for_pseudo_label("3").values[taken])
    assert torch.equal(actual_part.for_pseudo_label("3").log_scale, original.for_pseudo_label("3").log_scale[taken])
    assert torch.equal(actual_part.activations.values, original.activations.values[taken])
    assert torch.equal(actual_part.embedding, original.embedding[taken])
    assert torch.equal(actual_part.scores["odin"], original.scores["odin"][taken])


def test_concatenate_everything() -> None:
    original = full()
    assert_same(Readings.concatenate([original.rows(np.arange(2)), original.rows(np.arange(2, 5))]), original)


@pytest.mark.parametrize(
    "other",
    [
        readings(),
        full(first="uniform"),
        replace(full(), further={}),
        replace(full(), activations=None),
        replace(full(), activations=Activations(("block.dense",), torch.zeros(5, 1, 9).double())),
        replace(full(), embedding=None),
        replace(full(), scores={}),
        replace(full(), biases=False),
    ],
)
def test_concatenate_what_differs(other: Readings) -> None:
    with pytest.raises(InputError, match="differ"):
        Readings.concatenate([full(), other])


# --- readings without gradients


@pytest.mark.parametrize("first", ["predicted", "uniform"])
def test_round_trips_without_gradients(first: str, tmp_path: Path) -> None:
    original = without_gradients(first=first)
    original.write_parquet(tmp_path / "readings.parquet")
    table = original.to_arrow()
    for actual in (
        Readings.from_arrow(table),
        Readings.from_arrow(table.replace_schema_metadata(None)),
        Readings.from_pandas(original.to_pandas()),
        Readings.read_parquet(tmp_path / "readings.parquet"),
    ):
        assert_same(actual, original)
        assert actual.metrics == original.metrics


def test_columns_without_gradients() -> None:
    original = replace(without_gradients(), further={}, activations=None, embedding=None, scores={})
    assert original.columns == ()
    assert [*original.to_numpy()] == ["prediction", "log_scale", "logits"]
    assert_same(Readings.from_arrow(original.to_arrow().replace_schema_metadata(None)), original)


def test_operations_without_gradients() -> None:
    original = without_gradients(7)
    assert_same(original.led_by("uniform").led_by("predicted").for_pseudo_label("uniform"), original.further["uniform"])
    parts = [original.rows(np.array([0, 1])), original.rows(np.arange(7) > 1)]
    assert [len(part) for part in parts] == [2, 5]
    assert_same(Readings.concatenate(parts), original)
    assert original.finite.tolist() == [True] * 7
    assert repr(original) == "Readings(7 samples, 4 classes, no gradients)"
    with pytest.raises(InputError, match="gradients=True"):
        original["all", "l2"]
    with pytest.raises(InputError):
        Readings.concatenate([original, full(7)])


def test_no_samples_without_gradients() -> None:
    original = without_gradients(7).rows(np.zeros(7, bool))
    assert len(original) == 0
    assert original.finite.tolist() == []
    assert_same(Readings.from_arrow(original.to_arrow()), original)


@pytest.mark.parametrize("missing", ["prediction", "log_scale", "logits"])
def test_a_table_of_something_else_without_metadata(missing: str) -> None:
    table = without_gradients().to_arrow().replace_schema_metadata(None)
    with pytest.raises(DataError):
        Readings.from_arrow(table.drop_columns([missing]))


NO_ARROW: dict[str, Any] = {
    "paths": [Path("a")] * 5,
    "texts and numbers": ["a", 1, 2, 3, 4],
    "numbers and texts": [1, "a", 2, 3, 4],
    "tensors": list(torch.zeros(5)),
    "complex": np.zeros(5, complex),
    "sparse": pd.arrays.SparseArray([0.0] * 5),
    "large integers": pd.Series([2**70] * 5, dtype=object),
    "long texts": pd.Series([1] + ["a" * 1000] * 4, dtype=object),
}


@pytest.mark.parametrize("kind", NO_ARROW)
def test_pandas_columns_that_arrow_cannot_hold(kind: str) -> None:
    original = full()
    frame = original.to_pandas().assign(file=NO_ARROW[kind])
    frame[7] = frame["prediction"] = frame["file"]
    assert_same(Readings.from_pandas(frame), original)
    for name in ("logits", "log_scale", "conv1/l1", "score:odin", "pseudo_label"):
        broken = original.to_pandas().assign(**{name: NO_ARROW[kind]})
        with pytest.raises(DataError, match=f"column '{name}' .*; expected a column of to_pandas") as raised:
            Readings.from_pandas(broken)
        assert len(str(raised.value)) < 500


def frame_of(table: pa.Table) -> pd.DataFrame:
    """A frame with all columns of a table, also those of equal names."""
    frame = table.rename_columns(list(map(str, range(table.num_columns)))).to_pandas()
    return frame.set_axis(table.column_names, axis=1)


def test_columns_that_occur_twice() -> None:
    original = full(first="uniform")
    table = original.to_arrow()
    for name in ("label", "prediction"):
        twice = table.append_column(name, pa.array(range(5))).append_column(name, pa.array(range(5)))
        assert_same(Readings.from_arrow(twice), original)
        assert_same(Readings.from_pandas(frame_of(twice)), original)
    for name in ("logits", "log_scale", "conv1/l1", "pseudo_label"):
        twice = table.append_column(name, table[name]).replace_schema_metadata()
        with pytest.raises(DataError, match=f"several columns '{name}'; expected one"):
            Readings.from_arrow(twice)
        with pytest.raises(DataError, match=f"several columns '{name}'; expected one"):
            Readings.from_pandas(frame_of(twice))
