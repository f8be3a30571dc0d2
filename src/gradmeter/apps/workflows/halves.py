"""Random halves of the data: one to fit the meta classifier, one to prove the risk guarantee."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gradmeter.reading.content import reading_hashes, table_contents
from gradmeter.reading.readings import Readings

_SEED = 0


class Halves(NamedTuple):
    """The halves of a table of N readings.

    Attributes:
        fitted: [N] whether a row is in the half to fit on; the others are held out.
        recurring: [N] whether it is there with copies.
    """

    fitted: NDArray[np.bool_]
    recurring: NDArray[np.bool_]

    @classmethod
    def undivided(cls, rows: int) -> Halves:
        """Fit on all rows."""
        return cls(np.ones(rows, np.bool_), np.zeros(rows, np.bool_))


def halves(tables: Sequence[pa.Table]) -> list[Halves]:
    """Draw a random half of each table of readings.

    Inputs that are equal, or that have equal readings, are in the same half, also across tables: a meta classifier that
    was fitted on the readings of one of them has seen those of the other.
    """
    is_drawn: dict[int, bool] = {}
    drawn = []
    for groups in _groups(tables):
        new = [group for group in dict.fromkeys(groups.tolist()) if group not in is_drawn]
        order = np.random.default_rng(_SEED).permutation(len(new))
        is_drawn |= {new[index]: rank < (len(new) + 1) // 2 for rank, index in enumerate(order)}
        fitted = np.array([is_drawn[group] for group in groups.tolist()], np.bool_)
        _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
        drawn.append(Halves(fitted, fitted & (counts[group] > 1)))
    return drawn


def _groups(tables: Sequence[pa.Table]) -> list[NDArray[np.int64]]:
    """Return a group number for each row of each table; rows with equal inputs or equal readings share a group."""
    parts = [Readings.from_arrow(table) for table in tables]
    contents, content = np.unique(np.concatenate([*map(table_contents, tables, parts)]), return_inverse=True)
    readings, reading = np.unique(np.concatenate([*map(reading_hashes, parts)]), return_inverse=True)
    size = len(contents) + len(readings)
    edges = coo_array((np.ones(len(content)), (content, len(contents) + reading)), shape=(size, size))
    _, groups = connected_components(edges, directed=False)
    return np.split(groups[content].astype(np.int64), np.cumsum([len(table) for table in tables])[:-1])
