"""How much likelier readings are for unknown inputs than for known ones."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler

from gradmeter.trust.signed_regression import SignedLogisticRegression

Values = NDArray[np.float64]

KNOWN = -1
"""The kind of known inputs."""

# Without any unknown inputs, squared distances up to this many times those of known inputs stand for them.
_FARTHEST = 10.0
# scikit-learn's C: few known inputs are no ground for steep odds.
_C_PER_SAMPLE, _SMALLEST_C, _LARGEST_C = 5e-4, 0.1, 1.0


class UnknownHead(BaseEstimator):  # type: ignore[misc]
    """Log likelihood ratios of several kinds of unknown inputs to known ones.

    Each kind's ratio is a logistic regression's. Some kinds are far from what is known and some are near: one
    regression for all of them would have to be timid about the far ones. In none of them is an input that is farther
    from all that is known likelier to be known, whatever the kind was like: the next one may be another.
    """

    def fit(self, distances: Values, others: Values, kinds: NDArray[np.int64]) -> Self:
        """Learn.

        Args:
            distances: [n, d] logarithms of distances to what is known.
            others: [n, k] what else tells, either way.
            kinds: [n] `KNOWN`, or the number of a kind of unknown inputs; where none is unknown, distances alone serve.
        """
        known = kinds == KNOWN
        self.distances_only_ = bool(known.all())
        if self.distances_only_:
            farther = np.random.default_rng(0).uniform(0, np.log(_FARTHEST), len(distances))[:, None]
            distances = np.concatenate([distances, distances + farther])
            others = np.concatenate([others, others])
            kinds = np.repeat([KNOWN, 0], len(known))
            known = kinds == KNOWN
        columns = self._columns(distances, others)
        self.scaler_ = StandardScaler().fit(columns)
        scaled = self.scaler_.transform(columns)
        strength = float(np.clip(_C_PER_SAMPLE * np.count_nonzero(known), _SMALLEST_C, _LARGEST_C))
        self.models_ = []
        for kind in np.unique(kinds[~known]):
            rows = known | (kinds == kind)
            # Both weigh the same, whatever their number: what comes out is a likelihood ratio, and the share of unknown
            # inputs enters later.
            model = SignedLogisticRegression(strength, positive=distances.shape[1])
            self.models_.append(model.fit(scaled[rows], ~known[rows]))
        return self

    def log_ratios(self, distances: Values, others: Values) -> Values:
        """[n, kinds], for samples as in `fit`."""
        scaled = self.scaler_.transform(self._columns(distances, others))
        return np.stack([model.decision_function(scaled) for model in self.models_], axis=1)

    def _columns(self, distances: Values, others: Values) -> Values:
        return distances if self.distances_only_ else np.hstack([distances, others])
