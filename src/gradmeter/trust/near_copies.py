"""A sign of near copies, such as several images of one patient, by the neighbours of wrong predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom
from sklearn.neighbors import NearestNeighbors

# With fewer wrong predictions, their neighbours say little. More, or more features, need not be looked at.
_FEW, _MOST, _MOST_FEATURES = 10, 500, 256
# Of independent samples, seldom more wrong predictions have a neighbour that is wrong in the same way.
_USUAL, _UNLIKELY = 0.3, 0.05
# The errors of a weak network lie close together without copies, and distant neighbours are then wrong in the same way,
# too: of the 20th to the 30th, at least a fifth of the share of the nearest. Copies by the dozen reach as far, but then
# nearly all are wrong in the same way.
_DISTANT, _TIMES, _NEARLY_ALL = slice(20, 31), 5, 0.65


def similar_errors(
    predictions: NDArray[np.int64], labels: NDArray[np.int64], outputs: NDArray[np.float64]
) -> float | None:
    """Return the share of wrong predictions whose nearest sample has the same label and prediction, if it is unusual.

    Args:
        predictions: [N] predicted classes, of more than 30 samples.
        labels: [N] classes.
        outputs: [N, D] statistics of the layers' outputs. They show the image more than the predicted class, which an
            embedding shows: in that, wrong predictions of the same kind are near each other anyway.

    Returns:
        The share; None if it is that of independent samples, or there are too few wrong predictions.
    """
    wrong = np.flatnonzero(predictions != labels)
    if len(wrong) < _FEW:
        return None
    generator = np.random.default_rng(0)
    wrong = generator.permutation(wrong)[:_MOST]
    with np.errstate(over="ignore", invalid="ignore"):
        spans = np.ptp(outputs, axis=0)
    columns = np.flatnonzero(np.isfinite(spans) & (spans > 0))
    if not len(columns):
        return None
    columns = generator.permutation(columns)[:_MOST_FEATURES]
    values = outputs[:, columns]
    values = (values - values.min(axis=0)) / spans[columns]  # squares of what is nearly 0 would be 0 below
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    search = NearestNeighbors(n_neighbors=_DISTANT.stop, algorithm="brute").fit(values)
    neighbours = search.kneighbors(values[wrong], return_distance=False)  # among them the sample itself
    nearest = np.where(neighbours[:, 0] == wrong, neighbours[:, 1], neighbours[:, 0])
    kinds = predictions * (labels.max() + 1) + labels
    same = kinds[nearest] == kinds[wrong]
    distant = float((kinds[neighbours[:, _DISTANT]] == kinds[wrong, None]).mean())
    # A kind of error that is common in its class or prediction has such neighbours without copies.
    of_kind = _others(kinds, wrong)
    expected = max(float(np.mean(of_kind / np.maximum(_others(of, wrong), 1))) for of in (predictions, labels))
    usual = max(_USUAL, 2 * expected, min(_TIMES * distant, _NEARLY_ALL))
    return float(same.mean()) if binom.sf(same.sum() - 1, len(wrong), min(usual, 1.0)) < _UNLIKELY else None


def _others(values: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many other values are equal to that of each row."""
    _, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
    return counts[numbers[rows]] - 1
