"""The two meta classifiers of the experiment: gradmeter's own and a plain logistic regression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from gradmeter.errors import DataError
from gradmeter.research.gradient_gain.variants import View
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.folds import FOLDS
from gradmeter.trust.log_features import LOG_SCALE
from gradmeter.trust.meta_classifier import CORRECT, UNKNOWN, WRONG
from gradmeter.trust.two_heads import TwoHeads

Values = NDArray[np.float64]

TWO_HEADS, LOGISTIC = "two heads", "logistic regression"
CLASSIFIERS = (TWO_HEADS, LOGISTIC)

_STRENGTHS = (0.01, 0.1, 1.0, 10.0)
_LEAST_WRONG = 10
_SOFTMAX_FACTOR = 30.0
_EXTREME = 8.0  # standard deviations; features beyond it are clipped


@dataclass(frozen=True, eq=False)
class Lessons:
    """What judges learn from.

    Attributes:
        known: features of known inputs.
        wrong: [n] whether the prediction for a known input was wrong.
        unknown: features of unknown inputs of several kinds, that are not synthetic.
        synthetic: features of synthetic unknowns, by kind.
    """

    known: FeatureBlock
    wrong: NDArray[np.bool_]
    unknown: Sequence[FeatureBlock]
    synthetic: Sequence[FeatureBlock]


@dataclass(frozen=True, eq=False)
class Doubt:
    """How little a judge trusts N predictions; a higher score means less trust.

    Attributes:
        wrong: [N] if the input is known.
        overall: [N] if the input may be unknown.
    """

    wrong: Values
    overall: Values


FittedJudge = Callable[[FeatureBlock], Doubt]


def fit_two_heads(lessons: Lessons, view: View) -> FittedJudge:
    """Fit gradmeter's meta classifier as `TrustModel.fit` does, to known, unknown and synthetic inputs.

    Raises:
        DataError: if fewer predictions are right than it has folds.
    """
    if (right := np.count_nonzero(~lessons.wrong)) < FOLDS:
        raise DataError(
            f"{right} of the {len(lessons.wrong)} known inputs to learn from are predicted right; expected at least "
            f"{FOLDS}: give a larger --share"
        )
    unknown = [*lessons.unknown, *lessons.synthetic]
    kinds = [np.full(len(block), UNKNOWN + kind) for kind, block in enumerate(unknown)]
    target = np.concatenate([np.where(lessons.wrong, WRONG, CORRECT).astype(np.int64), *kinds])
    heads = TwoHeads().fit(FeatureBlock.concatenate([view(block) for block in (lessons.known, *unknown)]), target)

    def judge(block: FeatureBlock) -> Doubt:
        probabilities = heads.predict_proba(view(block))
        known = probabilities[:, WRONG] + probabilities[:, CORRECT]
        tiny = np.finfo(np.float64).tiny
        return Doubt(probabilities[:, WRONG] / known.clip(tiny), -probabilities[:, CORRECT])

    return judge


def fit_logistic(lessons: Lessons, view: View) -> FittedJudge:
    """Fit a logistic regression of wrong and (given) unknown inputs on all features.

    Features are scaled by `BalancedScale`, so that many features do not drown few. The strength of the penalty is the
    best of four on a held-out fifth. With fewer than ten wrong or unknown inputs there, the second strongest is used,
    and with none at all, the softmax takes the place of the regression.
    """
    block = view(FeatureBlock.concatenate([lessons.known, *lessons.unknown]))
    target = np.concatenate([lessons.wrong, np.ones(len(block) - len(lessons.wrong), np.bool_)])
    scale = BalancedScale(block)
    values = scale(block)
    held_out = np.arange(len(values)) % 5 == 4
    strength = _STRENGTHS[1]
    if min(np.count_nonzero(target[held_out]), np.count_nonzero(target[~held_out])) >= _LEAST_WRONG:
        losses = []
        for C in _STRENGTHS:
            probabilities = _logistic(C, values[~held_out], target[~held_out]).predict_proba(values[held_out])
            losses.append(log_loss(target[held_out], probabilities))
        strength = _STRENGTHS[int(np.argmin(losses))]
    if not 0 < np.count_nonzero(target) < len(target):
        return _softmax
    model = _logistic(strength, values, target)

    def judge(block: FeatureBlock) -> Doubt:
        scores = model.decision_function(scale(view(block)))
        return Doubt(scores, scores)

    return judge


def _softmax(block: FeatureBlock) -> Doubt:
    scores = block.values[:, block.axes.features.index(LOG_SCALE)]
    return Doubt(scores, scores)


def _logistic(C: float, values: Values, target: NDArray[np.bool_]) -> LogisticRegression:
    return LogisticRegression(C=C, max_iter=500, tol=1e-3).fit(values, target)


class BalancedScale:
    """Standardises features, and divides those of each source by the root of their number.

    log(1 - p) of the predicted class is multiplied instead, so that a penalty hardly affects it: a model that also
    reads other features must not lose what the softmax knows.

    Args:
        block: the training features.
    """

    def __init__(self, block: FeatureBlock) -> None:
        self._scaler = StandardScaler().fit(block.values)
        sources = [feature.source for feature in block.axes.features]
        _, index, counts = np.unique(sources, return_inverse=True, return_counts=True)
        self._factors = 1 / np.sqrt(counts[index])
        if LOG_SCALE in block.axes.features:
            self._factors[block.axes.features.index(LOG_SCALE)] = _SOFTMAX_FACTOR

    def __call__(self, block: FeatureBlock) -> Values:
        """Return the scaled features [n, features]."""
        scaled: Values = self._scaler.transform(block.values).clip(-_EXTREME, _EXTREME) * self._factors
        return scaled
