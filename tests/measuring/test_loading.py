from collections.abc import Sequence

import pytest

from gradmeter.measuring import Skipped
from gradmeter.measuring.loading import batch_of
from gradmeter.samples import Sample

SAMPLES = [Sample("a", 1, 0), Skipped("b", "damaged"), Sample("c", 2, None), Sample("d", 3, 1)]


def test_one_that_cannot_be_prepared_does_not_take_others_along() -> None:
    def halved(contents: Sequence[int]) -> list[float]:
        return [6 / (content - 2) for content in contents]

    batch = batch_of(SAMPLES, halved)
    assert (batch.ids, batch.labels, batch.inputs) == (["a", "d"], [0, 1], [-6, 6])
    assert batch.skipped == [
        Skipped("b", "damaged"),
        Skipped("c", "cannot be prepared for the network (ZeroDivisionError: division by zero)"),
    ]


def test_none_can_be_prepared() -> None:
    def refused(contents: Sequence[int]) -> None:
        raise MemoryError

    batch = batch_of(SAMPLES, refused)
    assert (batch.ids, batch.inputs, len(batch.skipped)) == ([], None, 4)
    assert batch.skipped[0].reason == "cannot be prepared for the network (MemoryError: MemoryError)"


def test_what_cannot_be_prepared_together_is_an_error() -> None:
    def alone(contents: Sequence[int]) -> None:
        if len(contents) > 1:
            raise RuntimeError("stack expects each tensor to be equal size")

    with pytest.raises(RuntimeError, match="equal size"):
        batch_of(SAMPLES, alone)
