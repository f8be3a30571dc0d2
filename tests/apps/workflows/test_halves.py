import numpy as np
import pyarrow as pa
import torch

from gradmeter import GradientMeter
from gradmeter.apps.workflows.halves import halves
from gradmeter.reading.content import HASH_COLUMN
from trust.trained import digits, trained


def table(numbers: list[int], contents: list[int] | None = None) -> pa.Table:
    """Readings of digits by their numbers."""
    readings = GradientMeter(trained())(digits()[0][torch.tensor(numbers)]).to_arrow()
    return readings if contents is None else readings.append_column(HASH_COLUMN, pa.array(contents, pa.uint64()))


def test_halves_of_each_table() -> None:
    sides = halves([table([*range(41)], [*range(41)]), table([*range(41, 61)], [*range(41, 61)])])
    assert [int(side.fitted.sum()) for side in sides] == [21, 10]
    assert not any(side.recurring.any() for side in sides)


def test_equal_inputs_are_on_one_side() -> None:
    # Of two batches readings may differ in their last digits.
    sides = halves([table([*range(40), *range(40, 80)], [*range(40)] * 2), table([*range(80, 120)], [*range(40)])])
    assert np.array_equal(sides[0].fitted[:40], sides[0].fitted[40:])
    assert np.array_equal(sides[0].fitted[:40], sides[1].fitted)
    assert sides[1].fitted.sum() == 20
    # In the second table, each input is there once.
    assert np.array_equal(sides[0].recurring, sides[0].fitted)
    assert not sides[1].recurring.any()


def test_inputs_that_the_network_does_not_tell_apart_are_on_one_side() -> None:
    twice = [*range(40), *range(40)]
    (side,) = halves([table(twice, [*range(80)])])
    assert np.array_equal(side.fitted[:40], side.fitted[40:])
    assert side.fitted.sum() == 40
    # The first of three is joined to the second by its readings, the second to the third by its content.
    numbers = [number for first in range(0, 40, 2) for number in (first, first, first + 1)]
    contents = [content for first in range(0, 40, 2) for content in (first, first + 1, first + 1)]
    (side,) = halves([table(numbers, contents)])
    assert np.array_equal(side.fitted[::3], side.fitted[2::3])


def test_readings_without_hashes_of_the_inputs() -> None:
    (side,) = halves([table([*range(40), *range(40)])])
    assert np.array_equal(side.fitted[:40], side.fitted[40:])
