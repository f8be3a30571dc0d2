"""Which samples of a source are left to do, as parts of the data set."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from gradmeter.runs.measuring.dataset import MeasuredSet
from gradmeter.sources.samples import Source


@dataclass(frozen=True)
class Remaining:
    """What is left of a source.

    Attributes:
        parts: from the number of a part to the numbers of its samples.
        gone: ids of samples that were done and are not there any more.
    """

    parts: dict[int, Sequence[int]]
    gone: frozenset[str]

    def __len__(self) -> int:
        """The number of samples."""
        return sum(map(len, self.parts.values()))


def remaining(measured: MeasuredSet, source: Source) -> Remaining:
    """What is left; where samples came or went, all ids are in memory."""
    count, size, complete = len(source), measured.part, measured.complete()
    if not measured.by_id:
        parts = {number: range(start, min(start + size, count)) for number, start in enumerate(range(0, count, size))}
        return Remaining({number: part for number, part in parts.items() if number not in complete}, frozenset())
    done, ids = measured.ids(complete), [source.id(index) for index in range(count)]
    left = [index for index, one in enumerate(ids) if one not in done]
    free = (number for number in itertools.count() if number not in complete)
    return Remaining(
        {number: left[at : at + size] for at, number in zip(range(0, len(left), size), free, strict=False)},
        frozenset(done.difference(ids)),
    )
