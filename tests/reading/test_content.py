from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import nn

from gradmeter import DataError, GradientMeter
from gradmeter.reading.content import content_hashes, reading_hashes, table_contents
from gradmeter.reading.readings import Readings

IMAGES = torch.rand(6, 3, 4, 5, generator=torch.Generator().manual_seed(0))


def test_equal_inputs_share_a_hash_whatever_their_batch_and_layout() -> None:
    hashes = content_hashes(IMAGES)
    assert hashes.dtype == np.uint64
    assert len(set(hashes.tolist())) == 6
    assert np.array_equal(content_hashes(IMAGES[2:4]), hashes[2:4])
    assert np.array_equal(content_hashes(IMAGES.to(memory_format=torch.channels_last)), hashes)
    assert np.array_equal(content_hashes((IMAGES,)), hashes)


def test_what_does_not_matter() -> None:
    tokens = torch.arange(6).reshape(3, 2)
    assert np.array_equal(content_hashes({"tokens": tokens}), content_hashes(tokens))
    assert np.array_equal(content_hashes({"tokens": tokens.int()}), content_hashes({"x": tokens}))
    assert not np.isin(content_hashes(tokens.float()), content_hashes(tokens)).any()
    # With several tensors the names count.
    first, second = tokens, tokens + 10
    exchanged = content_hashes({"a": second, "b": first})
    assert not np.isin(exchanged, content_hashes({"a": first, "b": second})).any()


@pytest.mark.parametrize("change", [lambda x: x.double(), lambda x: x.flatten(2), lambda x: x + 1e-6])
def test_other_inputs_do_not(change: object) -> None:
    assert not np.isin(content_hashes(change(IMAGES)), content_hashes(IMAGES)).any()  # type: ignore[operator]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool])
def test_every_type_of_numbers(dtype: torch.dtype) -> None:
    tensor = torch.arange(6).reshape(3, 2).to(dtype)
    assert len(content_hashes(tensor)) == 3
    assert content_hashes({"tokens": tensor}).tolist() == content_hashes({"tokens": tensor.clone()}).tolist()
    # One value per sample.
    assert len(content_hashes({"tokens": tensor, "length": tensor[:, 0]})) == 3


class Texts(nn.Module):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return input_ids * attention_mask


@given(some.lists(some.lists(some.integers(1, 99), min_size=1, max_size=5), min_size=2, max_size=5))
def test_padding_is_not_content(texts: list[list[int]]) -> None:
    def batch(rows: list[list[int]], width: int) -> dict[str, torch.Tensor]:
        tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        return {"input_ids": tokens, "attention_mask": mask}

    together = content_hashes(batch(texts, 8))
    for hashed, text in zip(together, texts, strict=True):
        assert content_hashes(batch([text], len(text))) == [hashed]
    assert len(set(together.tolist())) == len(set(map(tuple, texts)))
    for network in (Texts(), nn.DataParallel(Texts())):
        assert np.array_equal(content_hashes((*batch(texts, 8).values(),), network), together)


@pytest.mark.parametrize(("name", "axis"), [("inputs_embeds", 1), ("bbox", 1), ("input_features", 2)])
def test_padding_is_not_content_where_a_position_holds_several_numbers(name: str, axis: int) -> None:
    values, lengths = torch.randn(4, 8, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 5, 1, 8])
    mask = (torch.arange(8) < lengths[:, None]).long()
    together = content_hashes({name: values.movedim(1, axis), "attention_mask": mask})
    assert len(set(together.tolist())) == 4
    for row, length in enumerate(lengths.tolist()):
        short = {name: values[row : row + 1, :length].movedim(1, axis), "attention_mask": mask[row : row + 1, :length]}
        assert content_hashes(short) == together[row]


@pytest.mark.parametrize("shape", [(8,), (8, 3), (2, 8)], ids=str)
def test_a_table_beside_a_text_has_no_padding(shape: tuple[int, ...]) -> None:
    """Columns were left out if there were as many as the text has positions."""
    random = torch.Generator().manual_seed(0)
    tables, lengths = torch.randn(3, *shape, generator=random), torch.tensor([2, 5, 8])
    tokens, mask = torch.ones(3, 8, dtype=torch.int64), (torch.arange(8) < lengths[:, None]).long()
    together = content_hashes({"input_ids": tokens, "attention_mask": mask, "table": tables})
    longer = {"input_ids": nn.functional.pad(tokens, (0, 1)), "attention_mask": nn.functional.pad(mask, (0, 1))}
    assert np.array_equal(content_hashes({**longer, "table": tables}), together)
    other = tables.clone()
    other[0].flatten()[-1] += 1
    assert content_hashes({"input_ids": tokens, "attention_mask": mask, "table": other})[0] != together[0]


def test_an_image_beside_a_text_has_no_padding() -> None:
    """Pixels were left out if the image was as wide as the text was long."""
    images, lengths = torch.rand(3, 3, 8, 8), torch.tensor([2, 5, 8])
    tokens, mask = torch.ones(3, 8, dtype=torch.int64), (torch.arange(8) < lengths[:, None]).long()
    together = content_hashes({"pixel_values": images, "input_ids": tokens, "attention_mask": mask})
    for row, length in enumerate(lengths.tolist()):
        short = {"input_ids": tokens[row : row + 1, :length], "attention_mask": mask[row : row + 1, :length]}
        assert content_hashes({"pixel_values": images[row : row + 1], **short}) == together[row]
    other = images.clone()
    other[0, :, 5:] = 0
    assert content_hashes({"pixel_values": other, "input_ids": tokens, "attention_mask": mask})[0] != together[0]


@pytest.mark.parametrize(
    ("layers", "read"),
    [((nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)), "activations"), ((nn.Linear(8, 2),), "embedding")],
    ids=["deep", "linear probe"],
)
def test_readings_of_different_inputs_differ_even_if_their_logits_are_equal(
    layers: tuple[nn.Module, ...], read: str
) -> None:
    torch.manual_seed(0)
    meter = GradientMeter(nn.Sequential(*layers).bfloat16().eval(), gradients=False, **{read: True})  # type: ignore[arg-type]
    readings = meter(torch.randn(8000, 8).bfloat16())
    hashes = reading_hashes(readings)
    assert len(torch.unique(readings.logits, dim=0)) < len(readings)
    assert len(np.unique(hashes)) == len(readings)
    np.testing.assert_array_equal(reading_hashes(Readings.from_arrow(readings.to_arrow())), hashes)


METER = GradientMeter(nn.Sequential(nn.Flatten(), nn.Linear(60, 3)).eval(), gradients=False)
HASHES = pa.array(content_hashes(IMAGES))


def hashed(column: pa.Array) -> pa.Table:
    return METER(IMAGES).to_arrow().append_column("content_hash", column)


@pytest.mark.parametrize(
    "table",
    [
        hashed(HASHES),
        hashed(pa.array(HASHES.to_numpy().view(np.int64))),
        hashed(HASHES.cast(pa.decimal128(20, 0))),
        hashed(HASHES.cast(pa.string())),
        hashed(HASHES).to_pandas().astype({"content_hash": object}),
        hashed(HASHES).to_pandas().astype({"content_hash": "UInt64"}),
    ],
    ids=["uint64", "int64", "decimal", "text", "objects", "nullable"],
)
def test_hashes_of_a_table_whatever_their_type(table: Any) -> None:
    assert table_contents(table, METER(IMAGES)).tolist() == HASHES.to_pylist()


def test_rows_without_a_hash() -> None:
    readings = METER(IMAGES)
    some = pa.array([*HASHES.to_pylist()[:4], None, None], pa.uint64())
    assert table_contents(hashed(some), readings).tolist() == [*HASHES.to_pylist()[:4], *reading_hashes(readings)[4:]]


@pytest.mark.parametrize("column", [HASHES.to_numpy().astype(float), ["0x5f"] * 6])
def test_hashes_that_are_no_whole_numbers(column: Any) -> None:
    with pytest.raises(DataError, match=r"content_hash has values of type .* expected whole numbers"):
        table_contents(hashed(pa.array(column)), METER(IMAGES))


def test_several_columns_of_hashes() -> None:
    with pytest.raises(DataError, match="several columns 'content_hash'"):
        table_contents(hashed(HASHES).append_column("content_hash", HASHES), METER(IMAGES))
