import numpy as np
import pytest
import torch
from torch import nn

from gradmeter.sources.models.array_batch import ArrayBatch
from gradmeter.sources.samples.array_kind import ArrayField, ArrayKind

KIND = ArrayKind((ArrayField("", "int64", (3,), 0, 5),))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.uint8, torch.int64), (np.int64, torch.int64), (np.bool_, torch.bool), (">i4", torch.int64)],
)
def test_integers_become_token_ids(dtype: type, expected: torch.dtype) -> None:
    arrays = [np.array([0, 1, 1], dtype), np.array([1, 0, 1], dtype)]
    batch = ArrayBatch.of(KIND, nn.Linear(1, 1))([{"": array} for array in arrays])
    assert isinstance(batch, torch.Tensor)
    assert batch.dtype == expected
    assert batch.tolist() == [array.tolist() for array in arrays]


@pytest.mark.parametrize("weights", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f8"])
def test_floats_get_the_type_of_the_weights(dtype: type, weights: torch.dtype) -> None:
    batch = ArrayBatch.of(KIND, nn.Linear(1, 1).to(weights))([{"": np.array([0.5, -2], dtype)}])
    assert isinstance(batch, torch.Tensor)
    assert batch.dtype == weights
    assert batch.tolist() == [[0.5, -2]]


def test_numbers_beyond_float32_become_infinite_without_a_warning() -> None:
    batch = ArrayBatch.of(KIND, nn.Linear(1, 1))([{"": np.array([1e300, -2])}])
    assert isinstance(batch, torch.Tensor)
    assert batch.tolist() == [[float("inf"), -2]]


def test_named_arguments_are_a_dict() -> None:
    kind = ArrayKind((ArrayField("ids", "int64", (2,), 0, 5), ArrayField("mask", "bool", (2,), 1, 1)))
    batch = ArrayBatch.of(kind, nn.Identity())([{"ids": np.array([1, 2]), "mask": np.array([True, False])}])
    assert isinstance(batch, dict)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {"ids": [[1, 2]], "mask": [[True, False]]}


def test_an_integer_that_no_tensor_holds() -> None:
    with pytest.raises(ValueError, match=str(2**63)):
        ArrayBatch.of(KIND, nn.Identity())([{"": np.array([2**63], np.uint64)}])


def test_its_repr_tells_other_arguments_and_types() -> None:
    assert len({repr(ArrayBatch(names, floats)) for names in (("",), ("x",)) for floats in ("float32", "half")}) == 4
