"""P(the input is unknown), from how far its readings are from those of known inputs."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Values = NDArray[np.float64]

# Without any unknown inputs, squared distances up to this many times those of known inputs stand for them.
_FARTHEST = 10.0
# scikit-learn's C: few known inputs are no ground for steep odds.
_C_PER_SAMPLE, _SMALLEST_C, _LARGEST_C = 5e-5, 0.01, 0.1


class UnknownHead(BaseEstimator):  # type: ignore[misc]
    """Log likelihood ratio of unknown to known inputs, by logistic regression on distances and outputs."""

    def fit(self, distances: Values, outputs: Values, unknown: NDArray[np.bool_]) -> Self:
        """Learn.

        Args:
            distances: [n, d] logarithms of distances to what is known.
            outputs: [n, k] what the logits say.
            unknown: [n] whether a sample is unknown; where none is, distances alone serve.
        """
        self.distances_only_ = not unknown.any()
        if self.distances_only_:
            farther = np.random.default_rng(0).uniform(0, np.log(_FARTHEST), len(distances))[:, None]
            distances = np.concatenate([distances, distances + farther])
            outputs = np.concatenate([outputs, outputs])
            unknown = np.repeat([False, True], len(unknown))
        # Both weigh the same, whatever their number: what comes out is a likelihood ratio, and the share of unknown
        # inputs enters later.
        strength = float(np.clip(_C_PER_SAMPLE * np.count_nonzero(~unknown), _SMALLEST_C, _LARGEST_C))
        regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=3000)
        self.model_ = make_pipeline(StandardScaler(), regression).fit(self._columns(distances, outputs), unknown)
        return self

    def log_ratio(self, distances: Values, outputs: Values) -> Values:
        """[n], for samples as in `fit`."""
        found: Values = self.model_.decision_function(self._columns(distances, outputs))
        return found

    def _columns(self, distances: Values, outputs: Values) -> Values:
        return distances if self.distances_only_ else np.hstack([distances, outputs])
