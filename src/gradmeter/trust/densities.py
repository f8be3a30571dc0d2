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
    """Mahalanobis distances to classes, in several views of the same samples at once.

    Attributes:
        classes_: those that occurred.
        centre_: [views, d] of all samples.
        scale_: [views, d] their standard deviation.
        means_: [views, classes, d] of the scaled samples.
        whitening_: [views, classes or 1, d, d] maps that make the covariance the identity.
        white_means_: [views, classes, d] the means under these maps, where there is one for all classes; else None.
    """

    def fit(self, X: Values, classes: NDArray[np.int64]) -> Self:
        """Fit to samples [views, n, d] of classes [n]."""
        self.classes_, numbers, counts = np.unique(classes, return_inverse=True, return_counts=True)
        fitted = [_fitted(view, numbers, counts) for view in X]
        self.centre_, self.scale_, self.means_, self.whitening_ = map(np.stack, zip(*fitted, strict=True))
        self.white_means_ = self.means_ @ self.whitening_[:, 0] if self.whitening_.shape[1] == 1 else None
        return self

    def distances(self, X: Values, classes: NDArray[np.int64]) -> Values:
        """[views, n, 3] logarithms of the squared distances `OWN`, `NEAREST` and `NEXT`.

        A class that did not occur is as far as the farthest.

        Args:
            X: [views, n, d] samples.
            classes: [n] as which they are predicted.
        """
        squares = self._squares((X - self.centre_[:, None]) / self.scale_[:, None])
        predicted = classes[:, None] == self.classes_
        own = np.where(predicted.any(axis=1), (squares * predicted).sum(axis=2), squares.max(axis=2))
        others = np.where(predicted, np.inf, squares).min(axis=2)
        following = np.where(np.isfinite(others), others, own)
        logarithms: Values = np.log(np.stack([own, squares.min(axis=2), following], axis=2).clip(1e-12))
        return logarithms

    def _squares(self, scaled: Values) -> Values:
        """[views, n, classes] squared distances of scaled samples."""
        squares = np.empty((*scaled.shape[:2], len(self.classes_)))
        if self.white_means_ is None:
            for number in range(len(self.classes_)):
                rest = (scaled - self.means_[:, number, None]) @ self.whitening_[:, number]
                squares[:, :, number] = np.einsum("vnd,vnd->vn", rest, rest)
            return squares
        white, means = scaled @ self.whitening_[:, 0], self.white_means_
        # Along the shorter of both.
        if white.shape[1] < len(self.classes_):
            for sample in range(white.shape[1]):
                rest = white[:, sample, None] - means
                squares[:, sample] = np.einsum("vcd,vcd->vc", rest, rest)
        else:
            for number in range(len(self.classes_)):
                rest = white - means[:, number, None]
                squares[:, :, number] = np.einsum("vnd,vnd->vn", rest, rest)
        return squares


def _fitted(X: Values, numbers: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[Values, Values, Values, Values]:
    """Centre, scale, means and whitening of one view [n, d]."""
    centre, scale = X.mean(axis=0), X.std(axis=0)
    # The deviation of equal numbers need not be 0: their mean is rounded.
    scale = np.where(scale > _ROUNDING * np.abs(centre), scale, 1.0)
    scaled = (X - centre) / scale
    means = np.stack([scaled[numbers == number].mean(axis=0) for number in range(len(counts))])
    rest = scaled - means[numbers]
    pooled, _ = ledoit_wolf(rest, assume_centered=True)
    weights = counts / (counts + _SHRINKAGE * X.shape[1])
    if weights.max() < _LEAST_WEIGHT or X.shape[1] > _MOST_NUMBERS or len(counts) > _MOST_CLASSES:
        covariances = pooled[None]
    else:
        own = [rest[numbers == number].T @ rest[numbers == number] / n for number, n in enumerate(counts)]
        covariances = np.stack([w * s + (1 - w) * pooled for w, s in zip(weights, own, strict=True)])
    # The pooled covariance is singular where columns are multiples of each other.
    factors = np.linalg.cholesky(covariances + 1e-6 * np.eye(X.shape[1]))
    return centre, scale, means, np.linalg.inv(factors).transpose(0, 2, 1)
