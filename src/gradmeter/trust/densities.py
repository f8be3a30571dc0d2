"""Class-conditional normal densities of readings, and distances to them (Lee, Lee, Lee and Shin 2018)."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dtrtri
from sklearn.base import BaseEstimator

Values = NDArray[np.float64]

# The covariance of a class is n / (n + _SHRINKAGE d) times its own and otherwise the pooled one, for n samples in d
# dimensions. All classes share the pooled one if every weight is below _LEAST_WEIGHT, and for many dimensions or
# classes, where one covariance for each class would cost much time and memory.
_SHRINKAGE = 2.0
_LEAST_WEIGHT = 0.05
_MOST_DIMENSIONS = 256
_MOST_CLASSES = 100
_RIDGE = 1e-6
# Every column counts with at least this part of its variance within classes. Of a column that the class almost decides,
# such as the sign of a single output, the number of samples alone would otherwise say how far the classes are apart.
_LEAST_WITHIN = 3e-2
# Numbers in a block of samples: more would leave the cache, and fewer would read the maps more often.
_ENTRIES = 2**20

PREDICTED, NEAREST, NEXT = 0, 1, 2
"""Distances to the predicted class, to the nearest class, and to the nearest class other than the predicted one."""


class ClassDensities(BaseEstimator):  # type: ignore[misc]
    """Mahalanobis distances to classes, in several views of the same samples at once.

    Attributes:
        classes_: the classes of the training samples.
        centre_: [views, d] mean of all samples.
        scale_: [views, d] standard deviation of all samples; 1 for constant columns.
        means_: [views, classes, d] mean of each class, of the standardised samples.
        whitening_: [views, classes or 1, d, d] maps that turn the covariance into the identity.
        white_means_: [views, classes, d] means under the map of their class.
    """

    def fit(self, X: Values, classes: NDArray[np.int64], negligible: Values | float = 0.0) -> Self:
        """Fit to samples [views, n, d] of classes [n].

        Args:
            X: the samples.
            classes: their classes.
            negligible: [views, d] ranges; a column whose range is no larger is taken for constant.
        """
        self.classes_, labels, counts = np.unique(classes, return_inverse=True, return_counts=True)
        ranges = np.ptp(X, axis=1)
        fitted = [_fit_view(*view, labels, counts) for view in zip(X, ranges > negligible, strict=True)]
        self.centre_, self.scale_, self.means_, self.whitening_ = map(np.stack, zip(*fitted, strict=True))
        self.white_means_ = (self.means_[:, :, None] @ self.whitening_)[:, :, 0]
        return self

    def distances(self, X: Values, classes: NDArray[np.int64]) -> Values:
        """Return the logarithms of the squared distances `PREDICTED`, `NEAREST` and `NEXT`, [views, n, 3].

        A class without training samples is as far as the farthest class.

        Args:
            X: [views, n, d] samples.
            classes: [n] their predicted classes.
        """
        is_predicted = classes[:, None] == self.classes_
        distances = np.empty((*X.shape[:2], 3))
        block = max(1, _ENTRIES // self.white_means_.size)
        for start in range(0, X.shape[1], block):
            rows = slice(start, start + block)
            distances[:, rows] = _log_distances(self.squares(X[:, rows]), is_predicted[rows])
        return distances

    def squares(self, X: Values) -> Values:
        """Return the squared distances to all classes [views, n, classes] of samples [views, n, d]."""
        scaled = (X - self.centre_[:, None]) / self.scale_[:, None]
        residuals = scaled[:, None] @ self.whitening_ - self.white_means_[:, :, None]
        squares: Values = np.einsum("vcnd,vcnd->vnc", residuals, residuals)
        return squares


def _log_distances(squares: Values, is_predicted: NDArray[np.bool_]) -> Values:
    """Return the logarithms of `PREDICTED`, `NEAREST` and `NEXT`, [views, n, 3].

    Args:
        squares: [views, n, classes] squared distances.
        is_predicted: [n, classes] whether a class is the predicted one.
    """
    predicted = np.where(is_predicted.any(axis=1), (squares * is_predicted).sum(axis=2), squares.max(axis=2))
    others = np.where(is_predicted, np.inf, squares).min(axis=2)
    distances = np.empty((*squares.shape[:2], 3))
    distances[:, :, PREDICTED] = predicted
    distances[:, :, NEAREST] = np.minimum(predicted, others)
    distances[:, :, NEXT] = np.where(np.isfinite(others), others, predicted)
    logarithms: Values = np.log(np.maximum(distances, 1e-12))
    return logarithms


def _fit_view(
    X: Values, varies: NDArray[np.bool_], labels: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[Values, Values, Values, Values]:
    """Return centre, scale, means and whitening of one view.

    Args:
        X: [n, d] samples.
        varies: [d] whether a column is not constant.
        labels: [n] class indices.
        counts: the number of samples of each class.
    """
    dimensions = X.shape[1]
    centre, spread = X.mean(axis=0), X.std(axis=0)
    scale = np.where(varies, spread, 1.0)
    scaled = (X - centre) / scale
    means = np.stack([scaled[labels == label].mean(axis=0) for label in range(len(counts))])
    residuals = scaled - means[labels]
    pooled = _ledoit_wolf(residuals)
    weights = counts / (counts + _SHRINKAGE * dimensions)
    if weights.max() < _LEAST_WEIGHT or dimensions > _MOST_DIMENSIONS or len(counts) > _MOST_CLASSES:
        covariances = pooled[None]
    else:
        by_class = [residuals[labels == label].T @ residuals[labels == label] / n for label, n in enumerate(counts)]
        covariances = np.stack([w * s + (1 - w) * pooled for w, s in zip(weights, by_class, strict=True)])
    # The pooled covariance is singular if columns are multiples of each other.
    missing = np.where(varies, _LEAST_WITHIN - (residuals**2).mean(axis=0), 0.0)
    factors = np.linalg.cholesky(covariances + np.diag(np.maximum(missing, _RIDGE)))
    # LAPACK's inverse of triangular matrices takes a sixth of the operations of `np.linalg.inv`.
    inverses = np.stack([dtrtri(factor, lower=True)[0] for factor in factors])
    return centre, scale, means, inverses.transpose(0, 2, 1)


def _ledoit_wolf(X: Values) -> Values:
    """Return the shrunk covariance [d, d] of samples [n, d] with mean 0 (Ledoit and Wolf 2004).

    It equals scikit-learn's `ledoit_wolf(X, assume_centered=True)`, which computes three [d, d] products.
    """
    samples, dimensions = X.shape
    covariance = X.T @ X / samples
    squared, fourth = float((covariance**2).sum()), float((np.square(X).sum(axis=1) ** 2).sum()) / samples
    mean = float(np.trace(covariance)) / dimensions
    noise, spread = (fourth - squared) / samples, squared - dimensions * mean**2
    shrinkage = min(noise / spread, 1.0) if noise > 0 < spread else 0.0
    shrunk: Values = (1 - shrinkage) * covariance
    shrunk[np.diag_indices(dimensions)] += shrinkage * mean
    return shrunk
