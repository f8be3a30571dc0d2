"""A random half of what was read, to learn from; the other one is kept for a proof."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gradmeter.reading.content import HASH_COLUMN, reading_hashes
from gradmeter.reading.readings import Readings

_SEED = 0


def halves(tables: Sequence[pa.Table]) -> list[NDArray[np.bool_]]:
    """A random half of each table of readings, True.

    Equal inputs are in the same half, also those of different tables, and so are inputs that the network does not tell
    apart: what a meta classifier learned from the readings of one it knows of the other.
    """
    learning: dict[int, bool] = {}
    parts = []
    for groups in _equal(tables):
        new = [group for group in dict.fromkeys(groups.tolist()) if group not in learning]
        order = np.random.default_rng(_SEED).permutation(len(new))
        learning |= {new[place]: rank < (len(new) + 1) // 2 for rank, place in enumerate(order)}
        parts.append(np.array([learning[group] for group in groups.tolist()], np.bool_))
    return parts


def _equal(tables: Sequence[pa.Table]) -> list[NDArray[np.int64]]:
    """For the rows of each table numbers that are equal where the inputs are, or their readings."""
    by_readings = [reading_hashes(Readings.from_arrow(table)) for table in tables]
    by_content = [
        # Readings of earlier versions came without hashes.
        table[HASH_COLUMN].to_numpy() if HASH_COLUMN in table.column_names else hashes
        for table, hashes in zip(tables, by_readings, strict=True)
    ]
    contents, content = np.unique(np.concatenate(by_content), return_inverse=True)
    readings, reading = np.unique(np.concatenate(by_readings), return_inverse=True)
    size = len(contents) + len(readings)
    links = coo_array((np.ones(len(content)), (content, len(contents) + reading)), shape=(size, size))
    _, groups = connected_components(links, directed=False)
    return np.split(groups[content].astype(np.int64), np.cumsum([len(table) for table in tables])[:-1])
