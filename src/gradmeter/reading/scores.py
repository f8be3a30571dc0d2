"""Scores computed from the logits alone, the baselines for gradient statistics.

All functions take logits [N, C] and return float64 [N]. Entropy and energy grow with uncertainty; maximum softmax
probability and margin grow with confidence, so negate them before comparing. The latter two round to 1 for very
confident predictions; entropy does not.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from gradmeter.errors import InputError


@dataclass(frozen=True, eq=False)
class _Shifted:
    """The largest logit [N], distances to it [N, C], and the sum of exp(-distance) over the other classes [N]."""

    highest: NDArray[np.float64]
    distance: NDArray[np.float64]
    others: NDArray[np.float64]


def entropy(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the softmax entropy divided by log C, in [0, 1] (Oberdiek et al. 2018, Eq. 1), with 0 log 0 = 0.

    Raises:
        InputError: if the logits are not finite, not of shape [N, C], or C < 2.
    """
    shifted = _shift(logits)
    # -sum p log p = log Z + sum p * distance. All terms are positive, so no digits cancel for confident predictions.
    expected_distance = (np.exp(-shifted.distance) * shifted.distance).sum(axis=1) / (1 + shifted.others)
    nats = np.log1p(shifted.others) + expected_distance
    return np.asarray(np.minimum(nats / np.log(shifted.distance.shape[1]), 1.0))


def max_softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the maximum softmax probability, in [1/C, 1] (Hendrycks and Gimpel 2016), high when confident.

    Raises:
        InputError: if the logits are not finite, not of shape [N, C], or C < 2.
    """
    return np.asarray(1 / (1 + _shift(logits).others))


def margin(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the maximum softmax probability minus the second largest, in [0, 1], high when confident.

    Raises:
        InputError: if the logits are not finite, not of shape [N, C], or C < 2.
    """
    shifted = _shift(logits)
    second = np.partition(shifted.distance, 1, axis=1)[:, 1]
    return np.asarray(-np.expm1(-second) / (1 + shifted.others))


def energy(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the free energy -log sum exp(logits) at temperature 1 (Liu et al. 2020), unbounded, high when uncertain.

    Raises:
        InputError: if the logits are not finite, not of shape [N, C], or C < 2.
    """
    shifted = _shift(logits)
    return np.asarray(-(shifted.highest + np.log1p(shifted.others)))


def _shift(logits: ArrayLike) -> _Shifted:
    if isinstance(logits, Tensor):
        # NumPy supports neither bfloat16 nor other devices.
        logits = logits.detach().double().cpu().numpy()
    try:
        values = np.asarray(logits, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"logits are a {type(logits).__name__}; expected numbers of shape [N, C]: {error}") from error
    if values.ndim != 2 or values.shape[1] < 2:
        raise InputError(f"logits have shape {values.shape}; expected [N, C] with at least 2 classes")
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise InputError(
            f"logits contain NaN or infinity in {np.count_nonzero(~finite)} of {finite.size} rows; expected finite "
            "numbers: check the network's weights and inputs"
        )
    top = values.argmax(axis=1, keepdims=True)
    highest = np.take_along_axis(values, top, axis=1)
    # exp(-1000) is already 0; the cap avoids 0 * infinity where the difference overflows.
    with np.errstate(over="ignore"):
        distance = np.minimum(highest - values, 1000.0)
    weights = np.exp(-distance)
    np.put_along_axis(weights, top, 0.0, axis=1)
    return _Shifted(highest[:, 0], distance, weights.sum(axis=1))
