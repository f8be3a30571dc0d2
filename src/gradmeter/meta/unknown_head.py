"""P(the input is unknown), from how far its readings are from those of known inputs."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

Values = NDArray[np.float64]

KNOWN = -1
"""The kind of known inputs."""

# Without any unknown inputs, squared distances up to this many times those of known inputs stand for them.
_FARTHEST = 10.0
# scikit-learn's C: few known inputs are no ground for steep odds.
_C_PER_SAMPLE, _SMALLEST_C, _LARGEST_C = 5e-4, 0.1, 1.0


class UnknownHead(BaseEstimator):  # type: ignore[misc]
    """Log likelihood ratio of unknown to known inputs: the mean of the ratios of several kinds of unknown inputs.

    Each kind's ratio is a logistic regression's, on distances and outputs. Some kinds are far from what is known and
    some are near: one regression for all of them would have to be timid about the far ones.
    """

    def fit(self, distances: Values, outputs: Values, kinds: NDArray[np.int64]) -> Self:
        """Learn.

        Args:
            distances: [n, d] logarithms of distances to what is known.
            outputs: [n, k] what the logits say.
            kinds: [n] `KNOWN`, or the number of a kind of unknown inputs; where none is unknown, distances alone serve.
        """
        known = kinds == KNOWN
        self.distances_only_ = bool(known.all())
        if self.distances_only_:
            farther = np.random.default_rng(0).uniform(0, np.log(_FARTHEST), len(distances))[:, None]
            distances = np.concatenate([distances, distances + farther])
            outputs = np.concatenate([outputs, outputs])
            kinds = np.repeat([KNOWN, 0], len(known))
            known = kinds == KNOWN
        columns = self._columns(distances, outputs)
        self.scaler_ = StandardScaler().fit(columns)
        scaled = self.scaler_.transform(columns)
        strength = float(np.clip(_C_PER_SAMPLE * np.count_nonzero(known), _SMALLEST_C, _LARGEST_C))
        self.models_ = []
        for kind in np.unique(kinds[~known]):
            rows = known | (kinds == kind)
            # Both weigh the same, whatever their number: what comes out is a likelihood ratio, and the share of unknown
            # inputs enters later.
            model = LogisticRegression(C=strength, class_weight="balanced", max_iter=3000)
            self.models_.append(model.fit(scaled[rows], ~known[rows]))
        return self

    def log_ratio(self, distances: Values, outputs: Values) -> Values:
        """[n], for samples as in `fit`."""
        scaled = self.scaler_.transform(self._columns(distances, outputs))
        ratios = np.stack([model.decision_function(scaled) for model in self.models_])
        found: Values = logsumexp(ratios, axis=0) - np.log(len(ratios))
        return found

    def _columns(self, distances: Values, outputs: Values) -> Values:
        return distances if self.distances_only_ else np.hstack([distances, outputs])
