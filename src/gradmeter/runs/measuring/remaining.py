"""Which samples of a source remain to be measured, as parts of the data set."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from gradmeter.runs.measuring.dataset import MeasuredSet
from gradmeter.sources.samples import Source


@dataclass(frozen=True)
class Remaining:
    """The samples of a source that remain to be measured.

    Attributes:
        parts: for each part number, the indices of its samples.
        gone: ids of samples that were measured or skipped, and are no longer in the source.
    """

    parts: dict[int, Sequence[int]]
    gone: frozenset[str]

    def __len__(self) -> int:
        """The number of samples."""
        return sum(map(len, self.parts.values()))


def remaining(measured: MeasuredSet, source: Source) -> Remaining:
    """The samples that remain; if samples were added or removed, all ids are read into memory."""
    count, size, complete = len(source), measured.part, measured.complete()
    if not measured.by_id:
        parts = {number: range(start, min(start + size, count)) for number, start in enumerate(range(0, count, size))}
        return Remaining({number: part for number, part in parts.items() if number not in complete}, frozenset())
    done, ids = measured.ids(complete), [source.id(index) for index in range(count)]
    indices = [index for index, id_ in enumerate(ids) if id_ not in done]
    free_numbers = (number for number in itertools.count() if number not in complete)
    starts = range(0, len(indices), size)
    return Remaining(
        {number: indices[start : start + size] for start, number in zip(starts, free_numbers, strict=False)},
        frozenset(done.difference(ids)),
    )
