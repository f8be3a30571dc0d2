"""Class-conditional normal densities of readings, and distances to them (Lee, Lee, Lee and Shin 2018)."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.covariance import ledoit_wolf

Values = NDArray[np.float64]

# The covariance of a class is n / (n + _SHRINKAGE d) times its own and otherwise the pooled one, for n samples in d
# dimensions. All classes share the pooled one if every weight is below _LEAST_WEIGHT, and for many dimensions or
# classes, where one covariance for each class would cost much time and memory.
_SHRINKAGE = 2.0
_LEAST_WEIGHT = 0.05
_MOST_DIMENSIONS = 256
_MOST_CLASSES = 100
_RIDGE = 1e-6
_ROUNDING = 1e-12

PREDICTED, NEAREST, NEXT = 0, 1, 2
"""Distances to the predicted class, to the nearest class, and to the nearest class other than the predicted one."""


class ClassDensities(BaseEstimator):  # type: ignore[misc]
    """Mahalanobis distances to classes, in several views of the same samples at once.

    Attributes:
        classes_: the classes of the training samples.
        centre_: [views, d] mean of all samples.
        scale_: [views, d] standard deviation of all samples.
        means_: [views, classes, d] mean of each class, of the standardised samples.
        whitening_: [views, classes or 1, d, d] maps that turn the covariance into the identity.
        white_means_: [views, classes, d] means under the shared map; None if each class has a map.
    """

    def fit(self, X: Values, classes: NDArray[np.int64]) -> Self:
        """Fit to samples [views, n, d] of classes [n]."""
        self.classes_, labels, counts = np.unique(classes, return_inverse=True, return_counts=True)
        fitted = [_fit_view(view, labels, counts) for view in X]
        self.centre_, self.scale_, self.means_, self.whitening_ = map(np.stack, zip(*fitted, strict=True))
        self.white_means_ = self.means_ @ self.whitening_[:, 0] if self.whitening_.shape[1] == 1 else None
        return self

    def distances(self, X: Values, classes: NDArray[np.int64]) -> Values:
        """Return the logarithms of the squared distances `PREDICTED`, `NEAREST` and `NEXT`, [views, n, 3].

        A class without training samples is as far as the farthest class.

        Args:
            X: [views, n, d] samples.
            classes: [n] their predicted classes.
        """
        squares = self._squares((X - self.centre_[:, None]) / self.scale_[:, None])
        is_predicted = classes[:, None] == self.classes_
        predicted = np.where(is_predicted.any(axis=1), (squares * is_predicted).sum(axis=2), squares.max(axis=2))
        others = np.where(is_predicted, np.inf, squares).min(axis=2)
        following = np.where(np.isfinite(others), others, predicted)
        logarithms: Values = np.log(np.stack([predicted, squares.min(axis=2), following], axis=2).clip(1e-12))
        return logarithms

    def _squares(self, scaled: Values) -> Values:
        """Return squared distances [views, n, classes] of standardised samples [views, n, d]."""
        squares = np.empty((*scaled.shape[:2], len(self.classes_)))
        if self.white_means_ is None:
            for label in range(len(self.classes_)):
                residuals = (scaled - self.means_[:, label, None]) @ self.whitening_[:, label]
                squares[:, :, label] = np.einsum("vnd,vnd->vn", residuals, residuals)
            return squares
        white, means = scaled @ self.whitening_[:, 0], self.white_means_
        # Loop over the shorter axis: samples or classes.
        if white.shape[1] < len(self.classes_):
            for sample in range(white.shape[1]):
                residuals = white[:, sample, None] - means
                squares[:, sample] = np.einsum("vcd,vcd->vc", residuals, residuals)
        else:
            for label in range(len(self.classes_)):
                residuals = white - means[:, label, None]
                squares[:, :, label] = np.einsum("vnd,vnd->vn", residuals, residuals)
        return squares


def _fit_view(X: Values, labels: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[Values, Values, Values, Values]:
    """Return centre, scale, means and whitening of one view [n, d], from class indices [n] and their counts."""
    dimensions = X.shape[1]
    centre, scale = X.mean(axis=0), X.std(axis=0)
    # The standard deviation of a constant column may differ from 0, because its mean is rounded.
    scale = np.where(scale > _ROUNDING * np.abs(centre), scale, 1.0)
    scaled = (X - centre) / scale
    means = np.stack([scaled[labels == label].mean(axis=0) for label in range(len(counts))])
    residuals = scaled - means[labels]
    pooled, _ = ledoit_wolf(residuals, assume_centered=True)
    weights = counts / (counts + _SHRINKAGE * dimensions)
    if weights.max() < _LEAST_WEIGHT or dimensions > _MOST_DIMENSIONS or len(counts) > _MOST_CLASSES:
        covariances = pooled[None]
    else:
        by_class = [residuals[labels == label].T @ residuals[labels == label] / n for label, n in enumerate(counts)]
        covariances = np.stack([w * s + (1 - w) * pooled for w, s in zip(weights, by_class, strict=True)])
    # The pooled covariance is singular if columns are multiples of each other.
    factors = np.linalg.cholesky(covariances + _RIDGE * np.eye(dimensions))
    return centre, scale, means, np.linalg.inv(factors).transpose(0, 2, 1)
