"""Likelihood ratios of unknown to known inputs."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler

from gradmeter.trust.signed_regression import SignedLogisticRegression
from gradmeter.trust.unchecked import standardised

Values = NDArray[np.float64]

KNOWN = -1
"""The kind of known inputs."""

# Without unknown inputs, squared distances up to this many times those of known inputs stand for them.
_FARTHEST = 10.0
# scikit-learn's C, which grows with the number of known inputs: from few of them, steep odds would overfit.
_C_PER_SAMPLE, _SMALLEST_C, _LARGEST_C = 5e-4, 0.1, 1.0


class UnknownHead(BaseEstimator):  # type: ignore[misc]
    """Log likelihood ratios of several kinds of unknown inputs to known inputs, one logistic regression for each kind.

    Some kinds are far from the known inputs and some are close. A single regression for all kinds would underestimate
    the ratios of the far ones. The weights of the distances are not negative, so that no regression calls an input
    more likely known because it is farther away: future unknown inputs may differ from the kinds seen in training.

    Attributes:
        distances_only_: whether there were no unknown inputs, so that only the distances are used.
        scaler_: standardises the features.
        coef_: [d, kinds] the weights of each kind's `SignedLogisticRegression`, in the order of the kinds.
        intercept_: [kinds] their intercepts.
    """

    def fit(self, distances: Values, signed: Values, kinds: NDArray[np.int64]) -> Self:
        """Fit to known and unknown inputs.

        Args:
            distances: [n, d] logarithms of distances to the known inputs; their weights are not negative.
            signed: [n, k] other features; their weights have either sign.
            kinds: [n] `KNOWN`, or the number of a kind of unknown inputs; if all are known, only distances are used.
        """
        known = kinds == KNOWN
        self.distances_only_ = bool(known.all())
        if self.distances_only_:
            shift = np.random.default_rng(0).uniform(0, np.log(_FARTHEST), len(distances))[:, None]
            distances = np.concatenate([distances, distances + shift])
            signed = np.concatenate([signed, signed])
            kinds = np.repeat([KNOWN, 0], len(known))
            known = kinds == KNOWN
        columns = self._columns(distances, signed)
        self.scaler_ = StandardScaler().fit(columns)
        scaled = self.scaler_.transform(columns)
        C = float(np.clip(_C_PER_SAMPLE * np.count_nonzero(known), _SMALLEST_C, _LARGEST_C))
        models = []
        for kind in np.unique(kinds[~known]):
            rows = known | (kinds == kind)
            # Both classes have the same total weight, so that the odds are a likelihood ratio. The share of unknown
            # inputs enters later.
            model = SignedLogisticRegression(C, positive=distances.shape[1])
            models.append(model.fit(scaled[rows], ~known[rows]))
        self.coef_ = np.stack([model.coef_ for model in models], axis=1)
        self.intercept_ = np.array([model.intercept_ for model in models])
        return self

    def log_ratios(self, distances: Values, signed: Values) -> Values:
        """Return the log likelihood ratios [n, kinds] of samples as in `fit`."""
        ratios: Values = standardised(self.scaler_, self._columns(distances, signed)) @ self.coef_ + self.intercept_
        return ratios

    def _columns(self, distances: Values, signed: Values) -> Values:
        return distances if self.distances_only_ else np.hstack([distances, signed])
