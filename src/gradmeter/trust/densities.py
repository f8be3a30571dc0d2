"""How far a reading is from those of its class: class-conditional normal densities (Lee, Lee, Lee and Shin 2018)."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.covariance import ledoit_wolf

Values = NDArray[np.float64]

# A class's own covariance weighs n / (n + _SHRINKAGE d) for n samples of d numbers, the one pooled over classes the
# rest; below this weight in every class the pooled one serves alone. So it does for many numbers or classes, where all
# would cost much time and memory.
_SHRINKAGE = 2.0
_LEAST_WEIGHT = 0.05
_MOST_NUMBERS = 256
_MOST_CLASSES = 100
_ROUNDING = 1e-12

OWN, NEAREST, NEXT = 0, 1, 2
"""Distances to the predicted class, to the nearest one, and to the nearest one but the predicted."""


class ClassDensities(BaseEstimator):  # type: ignore[misc]
    """Mahalanobis distances to classes.

    Attributes:
        classes_: those that occurred.
        centre_: [d] of all samples.
        scale_: [d] their standard deviation.
        means_: [classes, d] of the scaled samples.
        whitening_: [classes or 1, d, d] maps that make the covariance the identity.
    """

    def fit(self, X: Values, classes: NDArray[np.int64]) -> Self:
        """Fit to samples [n, d] of classes [n]."""
        self.centre_, scale = X.mean(axis=0), X.std(axis=0)
        # The deviation of equal numbers need not be 0: their mean is rounded.
        self.scale_ = np.where(scale > _ROUNDING * np.abs(self.centre_), scale, 1.0)
        scaled = (X - self.centre_) / self.scale_
        self.classes_, numbers, counts = np.unique(classes, return_inverse=True, return_counts=True)
        self.means_ = np.stack([scaled[numbers == number].mean(axis=0) for number in range(len(counts))])
        rest = scaled - self.means_[numbers]
        pooled, _ = ledoit_wolf(rest, assume_centered=True)
        weights = counts / (counts + _SHRINKAGE * X.shape[1])
        if weights.max() < _LEAST_WEIGHT or X.shape[1] > _MOST_NUMBERS or len(counts) > _MOST_CLASSES:
            covariances = pooled[None]
        else:
            own = [rest[numbers == number].T @ rest[numbers == number] / n for number, n in enumerate(counts)]
            covariances = np.stack([w * s + (1 - w) * pooled for w, s in zip(weights, own, strict=True)])
        # The pooled covariance is singular where columns are multiples of each other.
        ridge = 1e-6 * np.eye(X.shape[1])
        factors = np.linalg.cholesky(covariances + ridge)
        self.whitening_ = np.linalg.inv(factors).transpose(0, 2, 1)
        return self

    def distances(self, X: Values, classes: NDArray[np.int64]) -> Values:
        """[n, 3] logarithms of the squared distances `OWN`, `NEAREST` and `NEXT`, of samples [n, d] predicted as [n].

        A class that did not occur is as far as the farthest.
        """
        scaled = (X - self.centre_) / self.scale_
        squares = np.empty((len(X), len(self.classes_)))
        pooled = len(self.whitening_) == 1
        white = scaled @ self.whitening_[0] if pooled else scaled
        means = self.means_ @ self.whitening_[0] if pooled else self.means_
        for number, mean in enumerate(means):
            rest = white - mean if pooled else (white - mean) @ self.whitening_[number]
            squares[:, number] = np.einsum("nd,nd->n", rest, rest)
        predicted = classes[:, None] == self.classes_
        own = np.where(predicted.any(axis=1), (squares * predicted).sum(axis=1), squares.max(axis=1))
        others = np.where(predicted, np.inf, squares).min(axis=1)
        following = np.where(np.isfinite(others), others, own)
        found: Values = np.log(np.stack([own, squares.min(axis=1), following], axis=1).clip(1e-12))
        return found
