"""Nearest neighbours in the embedding, by cosine similarity, in tiles of bounded size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD

from gradmeter.stages import stage
from gradmeter.trust.labels.on_disk import on_disk

NEIGHBOURS = 20
"""Default number of neighbours."""

# Neighbours are looked for among at most this many inputs, drawn at random, so that the time grows with their number
# and not with its square.
_REFERENCES = 50_000
# A longer embedding is projected to this many dimensions, fitted to a sample.
_DIMENSIONS, _SAMPLED = 128, 5_000
# Entries of a tile of similarities.
_TILE = 2**23
# Beyond this cosine similarity two embeddings are those of one input, up to rounding in float32.
_SAME = 1 - 2e-6


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest neighbours of N inputs; neither the input itself nor copies of it are neighbours.

    The arrays are in temporary files.

    Attributes:
        rows: [N, k] rows of the neighbours, the nearest first; -1 where there are fewer than k.
        similarity: [N, k] cosine similarity; -1 where there is no neighbour.
        embedding: [N, d] the embedding, scaled to length 1, of at most 128 dimensions.
    """

    rows: NDArray[np.int32]
    similarity: NDArray[np.float32]
    embedding: NDArray[np.float32]


def nearest(embedding: NDArray[Any], neighbours: int = NEIGHBOURS, seed: int = 0) -> Neighbours:
    """Return the nearest neighbours of inputs.

    Args:
        embedding: [N, D].
        neighbours: number of neighbours k; fewer if there are fewer inputs.
        seed: of the random choices for many inputs or dimensions.
    """
    random = np.random.default_rng(seed)
    directions = _directions(embedding, random)
    count = len(directions)
    chosen = np.arange(count)
    if count > _REFERENCES:
        chosen = np.sort(random.choice(count, _REFERENCES, replace=False))
    references = torch.from_numpy(directions[chosen])
    k = max(1, min(neighbours, len(chosen) - 1))
    rows, similarity = on_disk((count, k), np.int32), on_disk((count, k), np.float32)
    size = max(1, _TILE // len(chosen))
    with stage("finding neighbours", count) as advance, torch.autocast("cpu", enabled=False):
        for start in range(0, count, size):
            tile = torch.from_numpy(directions[start : start + size]) @ references.T
            tile.masked_fill_(tile > _SAME, -1)
            values, indices = tile.topk(k, dim=1)
            similarity[start : start + size] = values.numpy()
            rows[start : start + size] = np.where(values.numpy() > -1, chosen[indices.numpy()], -1)
            advance(len(tile))
    return Neighbours(rows, similarity, directions)


def _directions(embedding: NDArray[Any], random: np.random.Generator) -> NDArray[np.float32]:
    """Return the embedding [N, d] scaled to length 1, projected if it is long."""
    count, dimensions = embedding.shape
    projection = None
    if dimensions > _DIMENSIONS and count > _DIMENSIONS:
        sample = np.sort(random.choice(count, min(count, _SAMPLED), replace=False))
        projection = TruncatedSVD(_DIMENSIONS, random_state=0).set_output(transform="default")
        projection.fit(_scaled(np.asarray(embedding[sample], np.float32)))
        dimensions = _DIMENSIONS
    directions = on_disk((count, dimensions), np.float32)
    for start in range(0, count, _SAMPLED):
        part = _scaled(np.asarray(embedding[start : start + _SAMPLED], np.float32))
        directions[start : start + _SAMPLED] = part if projection is None else _scaled(projection.transform(part))
    return directions


def _scaled(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    # In float32, squares of large numbers overflow.
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    scaled: NDArray[np.float32] = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled
