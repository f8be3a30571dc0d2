import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from gradmeter import DataError, GradientMeter, InputError, Readings, TrustModel
from gradmeter.trust.data import KnownInputs, identifiers, read_inputs, read_known, read_synthetic, read_unknown
from gradmeter.trust.labels.inputs import read_labels
from trust.trained import digits, loader, noise, trained

IMAGES, LABELS = (part[:60] for part in digits())


class Named(nn.Module):
    """The same network, with a named input and an optional shift."""

    def __init__(self) -> None:
        super().__init__()
        self.network = trained()

    def forward(self, images: Tensor, shift: Tensor | None = None) -> Tensor:
        logits: Tensor = self.network(images if shift is None else images + shift)
        return logits


METER, NAMED = GradientMeter(trained()), GradientMeter(Named())
WHOLE = METER(IMAGES)


def known_inputs(tensors: int) -> KnownInputs:
    known = KnownInputs()
    known.add((IMAGES,) * tensors, LABELS)
    return known


READINGS, ONE, TWO = KnownInputs(), known_inputs(1), known_inputs(2)


def assert_close(actual: Readings, expected: Readings) -> None:
    """Compare readings up to rounding, which differs between batches."""
    assert [name.removeprefix("network.") for name in actual.layers] == list(expected.layers)
    torch.testing.assert_close(actual.logits, expected.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(actual["all", "l2"], expected["all", "l2"], rtol=1e-3, atol=1e-6)


def labelled() -> pa.Table:
    return WHOLE.to_arrow().append_column("label", pa.array(LABELS.numpy()))


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def parquet(folder: Path) -> pd.DataFrame:
    """Write readings to a Parquet file and read it with pandas."""
    WHOLE.write_parquet(folder / "a.parquet")
    frame = pd.read_parquet(folder / "a.parquet")
    frame["label"] = LABELS.numpy()
    return frame


KNOWN: dict[str, tuple[GradientMeter, Callable[[Path], Any]]] = {
    "loader": (METER, lambda _: loader(0, 60)),
    "loader of small batches": (METER, lambda _: DataLoader(TensorDataset(IMAGES, LABELS), batch_size=25)),
    "list of batches": (METER, lambda _: [(IMAGES[:30], LABELS[:30]), [IMAGES[30:], LABELS[30:]]]),
    "tuple of two batches": (METER, lambda _: ((IMAGES[:30], LABELS[:30]), (IMAGES[30:], LABELS[30:]))),
    "generator": (METER, lambda _: (batch for batch in loader(0, 60))),
    "dicts with labels": (NAMED, lambda _: [{"images": IMAGES, "labels": LABELS}]),
    "dicts with label": (NAMED, lambda _: [{"images": IMAGES.numpy(), "label": LABELS.numpy()}]),
    "inputs of a tuple": (NAMED, lambda _: [((IMAGES - 1, np.ones(60, np.float32).reshape(-1, 1, 1, 1)), LABELS)]),
    "pair of tensors": (METER, lambda _: (IMAGES, LABELS)),
    "pair of arrays": (METER, lambda _: (read_only(IMAGES.numpy()), read_only(LABELS.numpy().astype(np.uint8)))),
    "pair of double arrays": (METER, lambda _: (IMAGES.double().numpy(), LABELS.numpy())),
    "pair with a list": (METER, lambda _: (IMAGES, LABELS.tolist())),
    "one batch of a loader": (METER, lambda _: next(iter(DataLoader(TensorDataset(IMAGES, LABELS), batch_size=60)))),
    "pair of readings": (METER, lambda _: (WHOLE, LABELS)),
    "pair of a table": (METER, lambda _: (WHOLE.to_arrow(), pd.Series(LABELS.numpy()))),
    "pair with Arrow's array": (METER, lambda _: (IMAGES, pa.array(LABELS.numpy()))),
    "pair with a column": (METER, lambda _: (WHOLE.to_arrow(), labelled()["label"])),
    "Arrow table": (METER, lambda _: labelled()),
    "pandas frame": (METER, lambda _: labelled().to_pandas()),
    "pandas frame of a file": (METER, parquet),
    "list of tables": (METER, lambda _: [labelled()[:25], labelled()[25:].to_pandas()]),
}


@pytest.mark.parametrize("form", KNOWN)
def test_forms_of_known_data(form: str, tmp_path: Path) -> None:
    meter, make = KNOWN[form]
    data, labels = read_known(meter, make(tmp_path))
    assert_close(data.readings, WHOLE)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, LABELS)


@pytest.mark.parametrize(
    ("meter", "make"),
    [
        *KNOWN.values(),
        (METER, lambda _: IMAGES),
        (METER, lambda _: IMAGES.numpy()),
        (METER, lambda _: WHOLE),
        (METER, lambda _: WHOLE.to_arrow()),
        (METER, lambda _: WHOLE.to_pandas()),
        (METER, lambda _: [IMAGES[:30], IMAGES[30:].numpy()]),
        (METER, lambda _: DataLoader(TensorDataset(IMAGES), batch_size=30)),
        (METER, lambda _: DataLoader(IMAGES, batch_size=30)),
        (METER, lambda _: [(IMAGES, "whatever is no label")]),
        (METER, lambda _: (IMAGES, None)),
        (METER, lambda _: [(IMAGES, None)]),
        (METER, lambda _: [(IMAGES, IMAGES[:, 0])]),  # masks
        (NAMED, lambda _: [{"images": IMAGES}]),
        (NAMED, lambda _: ((IMAGES - 1, torch.ones_like(IMAGES)), None)),
        (NAMED, lambda _: [IMAGES[:30], IMAGES[30:]]),
        (NAMED, lambda _: [((IMAGES - 1, torch.ones_like(IMAGES)), None)]),
    ],
)
def test_forms_of_unknown_data(meter: GradientMeter, make: Callable[[Path], Any], tmp_path: Path) -> None:
    for known in (READINGS, TWO if meter is NAMED else ONE):
        assert_close(read_unknown(meter, make(tmp_path), known).readings, WHOLE)


class Twins(Dataset[tuple[tuple[Tensor, Tensor], Tensor]]):
    """Samples of two inputs and a label, as of siamese networks."""

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        return (IMAGES[index] - 1, torch.ones(1, 1, 1)), LABELS[index]


def test_samples_of_several_inputs_which_a_loader_puts_into_a_list() -> None:
    batches = DataLoader(Twins(), batch_size=25)
    assert isinstance(next(iter(batches))[0], list)
    read, labels = read_known(NAMED, batches)
    assert_close(read.readings, WHOLE)
    assert labels.tolist() == LABELS.tolist()
    assert_close(read_unknown(NAMED, batches, TWO).readings, WHOLE)


@pytest.mark.parametrize(
    ("meter", "inputs"),
    [
        (METER, IMAGES),
        (METER, read_only(IMAGES.numpy())),
        (METER, IMAGES.numpy().astype(">f4")),
        (METER, np.asfortranarray(IMAGES.numpy())),
        (METER, IMAGES.flip(0).numpy()[::-1]),
        (METER, WHOLE),
        (METER, WHOLE.to_arrow()),
        (METER, WHOLE.to_pandas()),
        (NAMED, {"images": IMAGES.numpy()}),
        (NAMED, (IMAGES - 1, np.ones((60, 1, 1, 1), np.float32))),
    ],
)
def test_forms_of_inputs(meter: GradientMeter, inputs: Any) -> None:
    assert_close(read_inputs(meter, inputs), WHOLE)


def test_frames_with_columns_that_arrow_cannot_hold() -> None:
    trust = TrustModel(METER, reads="forward")
    readings = trust.meter(IMAGES)
    frame = readings.to_pandas().assign(label=LABELS.numpy(), file=Path("a"))
    trust.fit(frame)
    expected = trust.verdicts(readings)
    assert torch.equal(trust.predict_proba(frame), trust.predict_proba(readings))
    for first, text in [(Path("a"), "a"), ("a", "a"), (Path(os.fsdecode(b"\xff")), "\\xff"), (1j, "1j")]:
        rows = trust.verdicts(frame.assign(id=pd.Series([first, None, *range(58)], dtype=object)))
        assert rows["id"].to_pylist() == [text, None, *map(str, range(58))]
        assert rows.drop_columns("id").equals(expected)
    numbers = trust.verdicts(frame.assign(id=[Path("a"), *range(59)]).iloc[1:])["id"]
    assert numbers.to_pylist() == list(range(59))


def test_columns_that_occur_twice() -> None:
    for name in ("id", "label"):
        table = labelled().append_column("id", pa.array(range(60)))
        frame = table.to_pandas()
        frame.insert(0, name, frame[name], allow_duplicates=True)
        for data in (table.append_column(name, table[name]), frame):
            with pytest.raises(DataError, match=f"several columns '{name}'; expected one"):
                _ = identifiers(data) if name == "id" else read_known(METER, data)


@pytest.mark.parametrize("kind", [object, "U3", "M8[s]"])
def test_arrays_that_are_not_numeric(kind: Any) -> None:
    with pytest.raises(InputError, match=str(np.dtype(kind)).replace("[", r"\[")):
        read_inputs(METER, np.zeros(IMAGES.shape, kind))


def test_readings_are_not_measured_again() -> None:
    assert read_inputs(METER, WHOLE) is WHOLE
    readings = read_inputs(METER, WHOLE.to_arrow())
    assert torch.equal(readings.values, WHOLE.values)


class Masked(nn.Module):
    """A network of texts that takes the mask of padding by position."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)

    def forward(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.head((self.tokens(tokens) * attention_mask[..., None]).sum(1))
        return logits


def test_contents_do_not_depend_on_padding_or_on_whether_inputs_have_names() -> None:
    meter, labels = GradientMeter(Masked().eval()), torch.tensor([0, 1])
    tokens, mask = torch.tensor([[3, 4, 0], [6, 7, 0]]), torch.tensor([[1, 1, 0], [1, 1, 0]])
    pad = nn.ConstantPad1d((0, 2), 0)
    read, _ = read_known(meter, ((tokens, mask), labels))
    for inputs in ((pad(tokens), pad(mask)), {"tokens": pad(tokens), "attention_mask": pad(mask)}):
        padded, _ = read_known(meter, [(inputs, labels)])
        assert padded.contents.tolist() == read.contents.tolist()
        assert read_labels(meter, inputs, labels).contents.tolist() == read.contents.tolist()


# --- errors


@pytest.mark.parametrize(
    "data",
    [
        [IMAGES],
        [{"images": IMAGES}],
        [(IMAGES[:10], LABELS[:10]), IMAGES[10:]],
        WHOLE.to_arrow(),
        WHOLE.to_pandas(),
    ],
)
def test_no_labels(data: Any) -> None:
    with pytest.raises(InputError, match="labels"):
        read_known(NAMED if isinstance(data, list) and isinstance(data[0], dict) else METER, data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((IMAGES, LABELS[:59]), r"\b59\b.*\b60\b"),
        # The totals agree, but those of the batches do not.
        ([(IMAGES[:30], LABELS[:29]), (IMAGES[30:], LABELS[29:])], r"\b29\b.*\b30\b"),
        ((IMAGES, LABELS.double()), r"float64.*\(60,\)"),
        ((IMAGES, LABELS > 4), "bool"),
        ((IMAGES, LABELS - 1), r"-1\b.*\b0 to 9\b"),
        ((IMAGES, LABELS + 5), r"\b1\d\b.*\b0 to 9\b"),
        ([(IMAGES, nn.functional.one_hot(LABELS))], r"int64.*\(60, 10\)"),
        # Not taken for two batches without labels.
        ((IMAGES, nn.functional.one_hot(LABELS)), r"int64.*\(60, 10\)"),
        ((IMAGES, LABELS[:, None]), r"int64.*\(60, 1\)"),
        ([IMAGES.numpy(), [str(label) for label in LABELS.tolist()]], r"<U1.*\(60,\)"),
        ([IMAGES[:30], IMAGES[30:]], "a batch has no labels"),
        ((IMAGES, None), "a batch has no labels"),
        ((IMAGES, LABELS.bfloat16()), "BFloat16"),
        ((IMAGES, LABELS.float().requires_grad_()), r"float32.*\(60,\)"),
        ([(IMAGES, LABELS.to_sparse())], "labels are no array"),
        ([(IMAGES, LABELS.to("meta"))], "labels are no array"),
        ([(IMAGES, [[1], [1, 2]])], "labels are no array"),
        ([(IMAGES, np.full(len(IMAGES), 2**63, np.uint64))], f"the largest label is {2**63}; .*int64"),
        ((IMAGES, np.ma.masked_equal(LABELS.numpy(), 3)), "masked"),
        ((np.ma.masked_less(IMAGES.numpy(), 0.1), LABELS), "masked"),
        ([(IMAGES, LABELS, LABELS)], "a batch is a tuple of 3"),
        (WHOLE.to_arrow().append_column("label", pa.array([None, *LABELS[1:].tolist()])), "float64"),
    ],
)
def test_invalid_labels(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_known(METER, data)


@pytest.mark.parametrize("data", [5, None, WHOLE, IMAGES, IMAGES.numpy(), {"images": IMAGES, "labels": LABELS}])
def test_invalid_known_data(data: Any) -> None:
    with pytest.raises(InputError, match=rf"\b{type(data).__name__}\b"):
        read_known(METER, data)


@pytest.mark.parametrize(
    ("data", "known"),
    [
        (DataLoader(TensorDataset(IMAGES, torch.ones(60, 1, 1, 1)), 30), TWO),
        ([(IMAGES, torch.ones_like(IMAGES))], TWO),
        ([(IMAGES, LABELS)], TWO),
        ((IMAGES, LABELS), TWO),
        ((IMAGES, torch.ones_like(IMAGES)), TWO),
        ((IMAGES.numpy(), np.ones(IMAGES.shape), np.ones(IMAGES.shape)), TWO),
        ((IMAGES, torch.ones_like(IMAGES)), known_inputs(3)),
        (DataLoader(TensorDataset(IMAGES, torch.ones_like(IMAGES), LABELS), 30), TWO),
        ([(IMAGES, torch.ones_like(IMAGES), LABELS)], ONE),
    ],
)
def test_unknown_inputs_of_a_network_are_not_taken_for_labels_or_batches(data: Any, known: KnownInputs) -> None:
    with pytest.raises(InputError, match=rf"not clear.* expected {known.tensors}, "):
        read_unknown(NAMED, data, known)


def test_unknown_inputs_are_compared_with_known_ones() -> None:
    known, unknown = ((IMAGES, torch.zeros_like(IMAGES)), LABELS), DataLoader(TensorDataset(IMAGES, IMAGES), 30)
    trust = TrustModel(NAMED, reads="forward")
    with pytest.raises(InputError, match="not clear"):
        trust.fit(known, [unknown])
    with pytest.raises(InputError, match="not clear"):
        trust.fit(known, synthetic=[unknown])
    trust.fit(known)
    with pytest.raises(InputError, match="not clear"):
        trust.set_risk(0.5, known, [unknown], recurring=True)


def test_a_single_batch_is_to_be_put_in_a_list() -> None:
    with pytest.raises(InputError, match="put a single batch in a list"):
        read_unknown(NAMED, {"images": IMAGES}, ONE)


def test_single_samples_for_batches() -> None:
    with pytest.raises(InputError, match="put single samples into batches"):
        read_known(METER, list(zip(IMAGES, LABELS, strict=True)))


def test_loaders_without_batches() -> None:
    with pytest.raises(InputError, match="batches"):
        read_known(METER, [])
    with pytest.raises(InputError, match="batches"):
        read_unknown(METER, [], ONE)


def test_a_loader_over_a_generator_cannot_be_read_twice() -> None:
    class Once(IterableDataset[tuple[Tensor, Tensor]]):
        samples = zip(IMAGES, LABELS, strict=True)

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            return self.samples

    batches = DataLoader(Once(), 30)
    assert len(read_known(METER, batches)[1]) == 60
    with pytest.raises(InputError, match="each time that it is read"):
        read_known(METER, batches)


def test_readings_of_zero_samples() -> None:
    none = WHOLE.rows(np.empty(0, np.int64))
    for inputs in (none, none.to_arrow()):
        with pytest.raises(InputError, match="samples"):
            read_inputs(METER, inputs)
    with pytest.raises(InputError, match="samples"):
        read_unknown(METER, [(none, None)], ONE)


def test_readings_of_another_network() -> None:
    other = GradientMeter(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))(noise(20))
    frame = other.to_pandas()
    for readings in (other, other.to_arrow(), frame):
        with pytest.raises(InputError, match=r"\b0, 1, 4\b"):
            read_inputs(METER, readings)
    with pytest.raises(InputError, match=r"\b0, 1, 4\b"):
        read_known(METER, frame.assign(label=0))
    with pytest.raises(InputError, match=r"\b0, 1, 4\b"):
        read_unknown(METER, [other], ONE)
    swapped = Readings(WHOLE.logits, WHOLE.log_scale, ("4", "0", "6", "all"), WHOLE.values)
    with pytest.raises(InputError, match="order"):
        read_inputs(METER, swapped)


@pytest.mark.parametrize("form", [lambda readings: readings, Readings.to_arrow, Readings.to_pandas])
def test_the_meters_pseudo_label_comes_first(form: Callable[[Readings], Any]) -> None:
    both = GradientMeter(trained(), ["uniform", "predicted"])(IMAGES)
    readings = read_inputs(METER, form(both))
    assert readings.pseudo_labels == ("predicted", "uniform")
    assert_close(readings, WHOLE)
    torch.testing.assert_close(readings.log_scale, WHOLE.log_scale, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(readings.for_pseudo_label("uniform").values, both.values)


@pytest.mark.parametrize("form", [lambda readings: readings, Readings.to_arrow, Readings.to_pandas])
def test_readings_with_and_without_biases(form: Callable[[Readings], Any]) -> None:
    weights_only = GradientMeter(trained(), biases=False)
    left_out = weights_only(IMAGES)
    torch.testing.assert_close(read_inputs(weights_only, form(left_out)).values, left_out.values)
    with pytest.raises(InputError, match="biases=False; expected biases=True"):
        read_inputs(METER, form(left_out))
    with pytest.raises(InputError, match="biases=True or of an earlier version; expected biases=False"):
        read_inputs(weights_only, form(WHOLE))
    assert len(read_inputs(GradientMeter(trained(), gradients=False), form(left_out))) == len(IMAGES)


def test_readings_for_given_labels_are_refused() -> None:
    given = METER(IMAGES, LABELS)
    for readings in (given, given.to_arrow(), given.to_pandas()):
        with pytest.raises(InputError, match="predicted"):
            read_inputs(METER, readings)


def test_synthetic_unknowns_without_finite_readings_are_omitted() -> None:
    some, none = IMAGES[:20].clone(), torch.full_like(IMAGES[:20], torch.nan)
    some[3] = torch.nan
    by_kind = read_synthetic(METER, [iter([IMAGES[:20], some]), iter([none])])
    assert [len(readings) for readings in by_kind] == [39]
    assert_close(by_kind[0].rows(np.arange(20)), WHOLE.rows(np.arange(20)))


def test_tables_without_readings() -> None:
    for table in (pa.table({"x": [1.0]}), pd.DataFrame({"x": [1.0]})):
        with pytest.raises(DataError, match="readings"):
            read_inputs(METER, table)


@pytest.mark.parametrize("synthetic", [IMAGES, IMAGES.numpy(), {"images": IMAGES}, "noise", 3])
def test_synthetic_that_is_no_list_of_data_sets_is_refused(synthetic: Any) -> None:
    """Before anything is read: the labels are invalid, too."""
    kind = type(synthetic).__name__
    with pytest.raises(InputError, match=rf"synthetic is an? {kind}; expected a list, as in synthetic=\[loader\]"):
        TrustModel(METER).fit((IMAGES, LABELS - 100), synthetic=synthetic)
