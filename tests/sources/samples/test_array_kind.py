from typing import Any

import numpy as np
import pytest

from gradmeter.errors import DataError
from gradmeter.sources.samples.array_kind import ArrayField, ArrayKind, summary

TOKENS = ArrayField.of("ids", np.array([[5, 9, 7], [6, 6, 8]]))
SOUND = ArrayField.of("", np.array([[-1.5, np.nan], [np.inf, 0.5]], np.float32))


def test_ranges() -> None:
    assert (TOKENS.low, TOKENS.high, TOKENS.kind, str(TOKENS)) == (5, 9, "integers", "ids: int64 [3]")
    assert (SOUND.low, SOUND.high, SOUND.kind, str(SOUND)) == (-1.5, 0.5, "floats", "float32 [2]")


def test_columns_of_categories_get_numbers_that_each_of_them_has() -> None:
    # An embedding of three categories fails on those of the other columns.
    field = ArrayField.of("c", np.array([[0, 6, 2], [4, 0, 0], [1, 3, 1]]))
    assert (field.low, field.high) == (0, 2)
    constant = ArrayField.of("c", np.array([[0, 6, 7], [4, 0, 7], [1, 3, 7]]))
    assert (constant.low, constant.high) == (0, 4)
    steps = ArrayField.of("c", np.array([[[0, 6], [2, 1]], [[4, 1], [0, 3]]]))
    assert (steps.low, steps.high) == (1, 4)


@pytest.mark.parametrize(("mask", "number"), [([1, 1, 0], 1), ([0, 0, 1], 0), ([0, 0, 0], 0), ([1, 1, 1], 1)])
@pytest.mark.parametrize("dtype", [np.int64, np.bool_])
def test_a_mask_has_the_more_frequent_number(mask: list[int], number: int, dtype: type) -> None:
    field = ArrayField.of("mask", np.array([mask], dtype))
    assert (field.low, field.high) == (number, number)
    assert (field.noise(np.random.default_rng(0)) == number).all()


def test_an_array_without_finite_numbers() -> None:
    field = ArrayField.of("", np.full((2, 3), np.nan))
    assert (field.low, field.high) == (0, 1)


def test_noise_lies_in_the_range_and_is_the_same_at_every_call() -> None:
    kind = ArrayKind((ArrayField("ids", "int16", (50,), 5, 9), ArrayField("sound", "float32", (3, 20), -2.0, 1.0)))
    first, second = kind.noise(2)
    assert {*np.unique(first["ids"]).tolist()} == {5, 6, 7, 8, 9}
    assert (first["ids"].dtype, first["sound"].dtype, first["sound"].shape) == (np.int16, np.float32, (3, 20))
    assert -2 <= first["sound"].min() < -1.5 < 0.5 < first["sound"].max() <= 1
    assert not np.array_equal(first["sound"], second["sound"])
    assert all(np.array_equal(kind.noise(2)[1][name], second[name]) for name in kind.names)


@pytest.mark.parametrize(
    ("dtype", "shape", "accepted"),
    [
        ("int32", (9,), True),
        ("uint8", (3,), True),
        ("float32", (3,), False),
        ("bool", (3,), False),
        ("int64", (3, 1), False),
    ],
)
def test_arrays_of_other_sizes_are_accepted(dtype: str, shape: tuple[int, ...], accepted: bool) -> None:
    assert ArrayKind((TOKENS,)).accepts(ArrayKind((ArrayField("ids", dtype, shape, 0, 1),))) == accepted
    assert not ArrayKind((TOKENS,)).accepts(ArrayKind((ArrayField("tokens", "int64", (3,), 0, 1),)))


def test_it_survives_as_json() -> None:
    kind = ArrayKind((TOKENS, ArrayField.of("sound", np.array([[-1.5, 0.5]]))))
    assert ArrayKind.from_json(kind.to_json()) == kind


@pytest.mark.parametrize(
    "values",
    [
        [],
        [{}],
        [{**TOKENS.__dict__, "dtype": "object"}],
        [{**TOKENS.__dict__, "dtype": "nothing"}],
        [{**TOKENS.__dict__, "shape": None}],
        [{**TOKENS.__dict__, "low": "0"}],
        [{**TOKENS.__dict__, "more": 0}],
        5,
    ],
)
def test_damaged_json(values: Any) -> None:
    with pytest.raises(DataError, match="arrays is damaged"):
        ArrayKind.from_json(values)


def test_summary() -> None:
    assert summary({"": np.array([5, 123456])}) == "int64 [2]: 5, 1.235e+05"
    text = summary({"ids": np.arange(20), "sound": np.array([[0.25]], np.float32)})
    assert text.startswith("ids: int64 [20]: 0, 1, ")
    assert text.endswith("15, ...; sound: float32 [1, 1]: 0.25")
