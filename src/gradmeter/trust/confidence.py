"""Confidence scores: doubts, functions of the outputs that grow with how doubtful a prediction is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.base import BaseEstimator

Values = NDArray[np.float64]

# Log odds are at most this large: beyond, a logarithm of 0 would be infinite.
LARGEST_ODDS = 700.0


@dataclass(frozen=True, eq=False)
class KnownFeatures:
    """What the known head sees of n predictions.

    Attributes:
        logits: [n, classes].
        log_scale: [n] log(1 - p) of the predicted class.
        groups: other features by the name of their group, [n, d] each.
        mirrored: [n] log odds of being wrong by the logits of the image and its mirror image; None if not read.
    """

    logits: Values
    log_scale: Values
    groups: Mapping[str, Values]
    mirrored: Values | None = None

    def __len__(self) -> int:
        """The number of predictions."""
        return len(self.logits)

    def scored(self, confidence: Confidence | None) -> ScoredFeatures:
        """Return the doubts by a confidence score, by default the softmax, with the groups of other features."""
        return ScoredFeatures((confidence or Softmax())(self), self.groups)


@dataclass(frozen=True, eq=False)
class ScoredFeatures:
    """What a model of the known head sees of n predictions.

    Attributes:
        doubts: [n] by a confidence score.
        groups: other features by the name of their group, [n, d] each.
    """

    doubts: Values
    groups: Mapping[str, Values]

    def rows(self, selected: NDArray[np.generic]) -> ScoredFeatures:
        """Select predictions, by their indices or by [n] bool."""
        return ScoredFeatures(self.doubts[selected], {name: values[selected] for name, values in self.groups.items()})


class Softmax(BaseEstimator):  # type: ignore[misc]
    """The log odds of 1 - maximum softmax probability, at some temperature (Guo et al. 2017)."""

    def __init__(self, temperature: float = 1.0) -> None:
        self.temperature = temperature

    def __call__(self, X: KnownFeatures) -> Values:
        """Return the doubts [n]."""
        if self.temperature == 1:
            return softmax_log_odds(X.log_scale)
        return class_log_odds(X.logits / self.temperature, X.logits.argmax(axis=1))


class NormalisedLogit(BaseEstimator):  # type: ignore[misc]
    """Minus the largest logit over the p-norm of all, after subtraction of their mean (Cattelan and Silva 2023)."""

    def __init__(self, p: float = 4.0) -> None:
        self.p = p

    def __call__(self, X: KnownFeatures) -> Values:
        """Return the doubts [n]."""
        centred = X.logits - X.logits.mean(axis=1, keepdims=True)
        # Scaled to the largest entry, so that no power overflows; equal logits have no largest one.
        tiny = np.finfo(np.float64).tiny
        largest = np.abs(centred).max(axis=1).clip(tiny)
        norms = largest * ((np.abs(centred) / largest[:, None]) ** self.p).sum(axis=1) ** (1 / self.p)
        doubts: Values = -centred.max(axis=1) / norms.clip(tiny)
        return doubts


class SecondLook(BaseEstimator):  # type: ignore[misc]
    """The log odds by two views of the image where the softmax is in doubt, otherwise by the softmax.

    Args:
        above: log odds of the softmax above which the mirror image counts, too.
    """

    def __init__(self, above: float = -np.inf) -> None:
        self.above = above

    def __call__(self, X: KnownFeatures) -> Values:
        """Return the doubts [n]."""
        assert X.mirrored is not None
        own = softmax_log_odds(X.log_scale)
        return np.where(own > self.above, X.mirrored, own)


Confidence = Softmax | NormalisedLogit | SecondLook


def softmax_log_odds(log_scale: Values) -> Values:
    """Return the log odds of 1 - p, [n], from log(1 - p)."""
    odds: Values = log_scale - np.log(-np.expm1(np.minimum(log_scale, -1e-12)))
    return odds


def class_log_odds(logits: Values, classes: NDArray[np.intp]) -> Values:
    """Return the log odds [n] that one class per sample is wrong, by the softmax of logits [n, classes]."""
    rows = np.arange(len(logits))
    others = logits.copy()
    others[rows, classes] = -np.inf
    odds: Values = (logsumexp(others, axis=1) - logits[rows, classes]).clip(-LARGEST_ODDS, LARGEST_ODDS)
    return odds
