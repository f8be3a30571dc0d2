"""Scores computed from the logits alone, the baselines for gradient statistics.

All functions take logits [N, C] and return float64 [N]. Entropy and energy grow with uncertainty; maximum softmax
probability and margin grow with confidence, so negate them before comparing. The latter two round to 1 for very
confident predictions; entropy does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from gradmeter.errors import InputError


@dataclass(frozen=True, eq=False)
class ShiftedLogits:
    """Logits relative to the largest one, from which all scores are computed.

    Attributes:
        highest: [N] the largest logit.
        distance: [N, C] distances to it, at most 1000.
        weights: [N, C] exp(-distance), and 0 for the predicted class.
        others: [N] their sums.
    """

    highest: NDArray[np.float64]
    distance: NDArray[np.float64]
    weights: NDArray[np.float64]
    others: NDArray[np.float64]

    @classmethod
    def of(cls, logits: ArrayLike) -> ShiftedLogits:
        """Shift logits [N, C].

        Raises:
            InputError: if the logits are not finite, not of shape [N, C], or C < 2.
        """
        if isinstance(logits, Tensor):
            # NumPy supports neither bfloat16 nor other devices.
            logits = logits.detach().double().cpu().numpy()
        try:
            values = np.asarray(logits, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"logits are a {type(logits).__name__}; expected numbers of shape [N, C]: {error}"
            ) from error
        if values.ndim != 2 or values.shape[1] < 2:
            raise InputError(f"logits have shape {values.shape}; expected [N, C] with at least 2 classes")
        finite = np.isfinite(values)
        if not finite.all():
            raise InputError(
                f"logits contain NaN or infinity in {np.count_nonzero(~finite.all(axis=1))} of {len(finite)} rows; "
                "expected finite numbers: check the network's weights and inputs"
            )
        rows, top = np.arange(len(values)), values.argmax(axis=1)
        highest = values[rows, top]
        # exp(-1000) is already 0; the cap avoids 0 * infinity where the difference overflows.
        with np.errstate(over="ignore"):
            distance = np.minimum(highest[:, None] - values, 1000.0)
        weights = np.exp(-distance)
        weights[rows, top] = 0.0
        return cls(highest, distance, weights, weights.sum(axis=1))

    @property
    def entropy(self) -> NDArray[np.float64]:
        """The normalised entropy; see `entropy`."""
        # -sum p log p = log Z + sum p * distance. All terms are positive, so no digits cancel for confident
        # predictions. The predicted class adds nothing to the sum, because its distance is 0.
        expected_distance = (self.weights * self.distance).sum(axis=1) / (1 + self.others)
        nats = np.log1p(self.others) + expected_distance
        return np.asarray(np.minimum(nats / np.log(self.distance.shape[1]), 1.0))

    @property
    def energy(self) -> NDArray[np.float64]:
        """The free energy; see `energy`."""
        return np.asarray(-(self.highest + np.log1p(self.others)))


def entropy(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the softmax entropy divided by log C, in [0, 1] (Oberdiek et al. 2018, Eq. 1), with 0 log 0 = 0.

    Raises:
        InputError: if the logits are not finite, not of shape [N, C], or C < 2.
    """
    return ShiftedLogits.of(logits).entropy


def max_softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the maximum softmax probability, in [1/C, 1] (Hendrycks and Gimpel 2016), high when confident.

    Raises:
        InputError: if the logits are not finite, not of shape [N, C], or C < 2.
    """
    return np.asarray(1 / (1 + ShiftedLogits.of(logits).others))


def margin(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the maximum softmax probability minus the second largest, in [0, 1], high when confident.

    Raises:
        InputError: if the logits are not finite, not of shape [N, C], or C < 2.
    """
    shifted = ShiftedLogits.of(logits)
    second = np.partition(shifted.distance, 1, axis=1)[:, 1]
    return np.asarray(-np.expm1(-second) / (1 + shifted.others))


def energy(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the free energy -log sum exp(logits) at temperature 1 (Liu et al. 2020), unbounded, high when uncertain.

    Raises:
        InputError: if the logits are not finite, not of shape [N, C], or C < 2.
    """
    return ShiftedLogits.of(logits).energy
