"""The default meta classifier: is the input known, and if it is, is the prediction right?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import KFold

from gradmeter.errors import InputError
from gradmeter.reading.readings import Readings
from gradmeter.stages import Advance
from gradmeter.trust.densities import NEAREST, NEXT, OWN, ClassDensities
from gradmeter.trust.features import (
    ACTIVATIONS,
    EMBEDDING,
    GRADIENTS,
    LOGITS,
    OUTPUTS,
    SCORES,
    FeatureAxes,
    FeatureBlock,
)
from gradmeter.trust.folds import plain_folds
from gradmeter.trust.kind_shares import bearable_loss, kind_log_odds, unknown_log_odds
from gradmeter.trust.known_head import FOLDS, KnownHead
from gradmeter.trust.log_features import LOG_SCALE, LogFeatures
from gradmeter.trust.meta_classifier import CORRECT, UNKNOWN, WRONG, CrossFit, Judgement, TrainingData
from gradmeter.trust.ranking import fallback
from gradmeter.trust.unknown_head import KNOWN, UnknownHead

Values = NDArray[np.float64]

UNFAMILIAR_SHARE = 0.001
"""Share of the known inputs that are less familiar than all inputs that count as familiar."""

LEAST_KNOWN = 50
"""Fewer right predictions say nothing of how readings of known inputs spread."""

LEARNED, SOFTMAX = "learned", "softmax"
RANKINGS = (LEARNED, SOFTMAX)

# With "softmax" P(known) is the same for all known inputs but this share of them. On a ResNet-20 with CIFAR-10, 0.001
# gained 0.03 points of AUROC on wrong predictions over 0.01, and lost 0.8 on Tiny-ImageNet.
_UNUSUAL_SHARE = 0.01

# With as many known inputs the fitted ratios are as good as held-out ones, which take five times as long.
_MANY = 5000
# With more classes than this, single logits and the predicted class are no features of the known head.
_MOST_CLASSES = 100
_SORTED = 10
# Single layers' distances are left to the other head: there are many, and wrong predictions are few.
_KNOWN_VIEWS = ("embedding", "gradients", "activations")


class TwoHeads(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """P(correct) = P(correct | known) (1 - P(unknown)).

    P(correct | known) is learned from validation labels (`KnownHead`). P(unknown) is learned from class-conditional
    densities of the readings, and from unknown inputs where there are some, synthetic ones at least (`UnknownHead`).
    It needs shares of the kinds of unknown inputs to be a probability. Each is taken to be as common as known inputs
    bear: of P(known) they lose, on average, a fifth of the rate of wrong predictions, and at most 1 %, but for the
    oddest of them (`kind_log_odds`). So P(correct) is a probability for known inputs but for that loss, and what is
    easily told from them is presumed to be common.

    Args:
        unknown_share: of all kinds together, each as common as the others, for which P(correct) is a probability; None
            for what known inputs bear.
        outputs: whether what the logits say is learned from, beside distances of readings to the predicted class and
            to the others: False for a control.
        ranking: "learned"; or "softmax": P(correct | known) is a function of the softmax alone and P(known) is the same
            for the 99 % most familiar known inputs, so that P(correct) ranks these as the softmax does.

    Attributes:
        classes_: `WRONG`, `CORRECT`, `UNKNOWN`.
        kind_log_odds_: [kinds] logarithms of the share of a kind over the share of known inputs.
        unknown_share_: of all kinds together, as it is presumed.
        known_loss_: what known inputs lose of P(known), on average.
        familiar_log_odds_: largest log odds of being unknown of an input that counts as familiar: all but a share of
            `UNFAMILIAR_SHARE` of the known inputs do.
        usual_log_odds_: the same for all but 1 % of the known inputs.
        views_: names of the views in which distances are taken, in order: "gradients", "activations", "embedding" and
            each layer's activations.
        stacks_: views of the same width: their numbers in `views_`, and the columns of each, [views, d].
        densities_: of each stack.
    """

    learns_from_synthetic = True
    steps = FOLDS + 1

    def __init__(self, unknown_share: float | None = None, outputs: bool = True, ranking: str = LEARNED) -> None:
        self.unknown_share = unknown_share
        self.outputs = outputs
        self.ranking = ranking

    def features(self, readings: Readings) -> LogFeatures:
        """All that there are."""
        return LogFeatures.everything(readings)

    def require_enough(self, right: int, wrong: int, unknown: int) -> None:
        """Check that fifty predictions are right.

        Raises:
            InputError: if not.
        """
        if right < LEAST_KNOWN:
            raise InputError(
                f"{right} predictions are right; expected at least {LEAST_KNOWN} to tell what is known: give more data"
            )

    def fit(self, X: FeatureBlock, y: NDArray[np.int64]) -> Self:
        """Learn from features of n samples and their classes [n]; there must be correct ones.

        Raises:
            InputError: for features that do not tell the logits, an impossible share or an unknown ranking.
        """
        if self.ranking not in RANKINGS:
            raise InputError(f"ranking={self.ranking!r}; expected {' or '.join(RANKINGS)}")
        if self.unknown_share is not None and not 0 < self.unknown_share < 1:
            raise InputError(f"unknown_share={self.unknown_share!r}; expected a share strictly between 0 and 1")
        self._locate(X.axes)
        values, known, right = X.values, y < UNKNOWN, y == CORRECT
        self.classes_ = np.array([WRONG, CORRECT, UNKNOWN])
        predicted = self._predicted(values)
        self.densities_, parts = [], []
        for _, columns in self.stacks_:
            own = _views_of(values, columns)
            density = ClassDensities().fit(own[:, right], predicted[right])
            distances = density.distances(own, predicted)
            # A sample is nearer to densities that were fitted to it.
            for rest, rows in _folds(known):
                rest = rest[right[rest]]
                apart = ClassDensities().fit(own[:, rest], predicted[rest])
                distances[:, rows] = apart.distances(own[:, rows], predicted[rows])
            self.densities_.append(density)
            parts.append(distances)
        distances, wrong, outputs = self._in_order(parts, len(values)), y[known] == WRONG, self._outputs(values)
        self.known_ = KnownHead().fit(
            self._known_features(values[known], distances[:, known]), self._log_scale(values[known]), wrong
        )
        far, others = _far(distances), _others(distances, outputs)
        kinds = np.where(known, KNOWN, y - UNKNOWN)
        self.unknown_ = UnknownHead().fit(far, others, kinds)
        ratios = _ratios_of_known(self.unknown_, far, others, kinds)
        if self.unknown_share is None:
            self.kind_log_odds_ = kind_log_odds(ratios, bearable_loss(wrong))
        else:
            count = ratios.shape[1]
            self.kind_log_odds_ = np.full(count, logit(self.unknown_share) - np.log(count))
        self.unknown_share_ = float(expit(logsumexp(self.kind_log_odds_)))
        odds = unknown_log_odds(ratios, self.kind_log_odds_)
        self.known_loss_ = float(expit(odds).mean())
        self.familiar_log_odds_, self.usual_log_odds_ = (
            float(np.quantile(odds, 1 - share, method="higher")) for share in (UNFAMILIAR_SHARE, _UNUSUAL_SHARE)
        )
        return self

    def cross_fit(self, data: TrainingData, advance: Advance) -> CrossFit:
        """Fit to all samples; judge each given one by heads that learned from the other folds and all that was made.

        Known inputs are ranked by the softmax where the held-out learned ranking finds wrong predictions worse.
        """
        target, synthetic = data.target, np.arange(data.given, len(data.target))
        held_out = {ranking: np.empty(data.given) for ranking in RANKINGS}
        familiar, folds = np.empty(data.given, np.bool_), np.empty(data.given, np.int64)
        for fold, (others, own) in enumerate(plain_folds(data.contents, target[: data.given] == CORRECT)):
            rows = np.concatenate([others, synthetic])
            fitted = TwoHeads(self.unknown_share, self.outputs).fit(data.block.rows(rows), target[rows])
            p_wrong, odds = fitted._heads(data.block.values[own])
            folds[own] = fold
            for ranking in RANKINGS:
                probabilities, familiar[own] = fitted._joined(p_wrong, odds, ranking)
                held_out[ranking][own] = probabilities[:, CORRECT]
            advance(1)
        known = slice(data.known)
        reason = fallback(held_out[LEARNED][known], data.softmax[known], target[known] == WRONG, folds[known])
        ranking = LEARNED if reason is None else SOFTMAX
        heads = TwoHeads(self.unknown_share, self.outputs, ranking).fit(data.block, target)
        return CrossFit(heads, Judgement(held_out[ranking], familiar), reason)

    @property
    def presumed_share(self) -> float:
        """The share of unknown inputs for which P(correct) is a probability."""
        return self.unknown_share_

    @property
    def borne_loss(self) -> float | None:
        """What known inputs lose of P(known) on average, where the share of unknown ones follows from it; else None."""
        return self.known_loss_ if self.unknown_share is None else None

    def predict_proba(self, X: FeatureBlock) -> Values:
        """[n, 3] P(known and wrong), P(known and correct), P(unknown)."""
        return self._joined(*self._heads(X.values), self.ranking)[0]

    def predict(self, X: FeatureBlock) -> NDArray[np.int64]:
        """[n], the likeliest of `classes_`."""
        likeliest: NDArray[np.int64] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likeliest

    def judge(self, block: FeatureBlock) -> Judgement:
        """Judge n predictions."""
        probabilities, familiar = self._joined(*self._heads(block.values), self.ranking)
        return Judgement(probabilities[:, CORRECT], familiar)

    def _heads(self, values: Values) -> tuple[dict[str, Values], Values]:
        """P(wrong | known) by ranking, and log odds that the input is unknown, of samples [n, d]."""
        predicted = self._predicted(values)
        parts = [
            density.distances(_views_of(values, columns), predicted)
            for (_, columns), density in zip(self.stacks_, self.densities_, strict=True)
        ]
        distances = self._in_order(parts, len(values))
        features, log_scale = self._known_features(values, distances), self._log_scale(values)
        p_wrong = {
            ranking: self.known_.probability(features, log_scale, by_softmax=ranking == SOFTMAX) for ranking in RANKINGS
        }
        ratios = self.unknown_.log_ratios(_far(distances), _others(distances, self._outputs(values)))
        return p_wrong, unknown_log_odds(ratios, self.kind_log_odds_)

    def _joined(self, p_wrong: dict[str, Values], odds: Values, ranking: str) -> tuple[Values, NDArray[np.bool_]]:
        """Probabilities as of `predict_proba`, [n, 3], and whether the inputs are familiar, [n]."""
        familiar = odds <= self.familiar_log_odds_
        if ranking == SOFTMAX:
            usual = min(float(logit(self.known_loss_)), self.usual_log_odds_)
            odds = usual + (odds - self.usual_log_odds_).clip(0)
        p_known, p = expit(-odds), p_wrong[ranking]
        return np.stack([p * p_known, (1 - p) * p_known, expit(odds)], axis=1), familiar

    def _locate(self, axes: FeatureAxes) -> None:
        """Find the columns of what is read.

        Raises:
            InputError: if the logits or log(1 - p) are not among them.
        """
        self.logits_ = axes.of(LOGITS)
        if LOG_SCALE not in axes.features or not len(self.logits_):
            raise InputError("features have no log_scale and logits; expected those of LogFeatures.everything")
        self.log_scale_ = axes.features.index(LOG_SCALE)
        self.outputs_ = axes.of(OUTPUTS, SCORES)
        views = {source: axes.of(source) for source in (GRADIENTS, ACTIVATIONS)}
        layers = np.array([feature.layer for feature in axes.features])[views[ACTIVATIONS]]
        for layer in dict.fromkeys(layers.tolist()):
            views[f"activations of {layer}"] = views[ACTIVATIONS][layers == layer]
        views[EMBEDDING] = axes.of(EMBEDDING)
        views = {view: columns for view, columns in views.items() if len(columns)}
        self.views_ = list(views)
        widths: dict[int, list[int]] = {}
        for number, columns in enumerate(views.values()):
            widths.setdefault(len(columns), []).append(number)
        self.stacks_ = [
            (np.array(numbers), np.stack([views[self.views_[number]] for number in numbers]))
            for numbers in widths.values()
        ]

    def _in_order(self, parts: list[Values], samples: int) -> Values:
        """[views, n, 3] of the distances of each stack."""
        distances = np.empty((len(self.views_), samples, 3))
        for (numbers, _), part in zip(self.stacks_, parts, strict=True):
            distances[numbers] = part
        return distances

    def _predicted(self, values: Values) -> NDArray[np.int64]:
        predicted: NDArray[np.int64] = values[:, self.logits_].argmax(axis=1)
        return predicted

    def _log_scale(self, values: Values) -> Values:
        """[n] log(1 - p) of the predicted class, where the known head begins; without outputs all are alike."""
        return values[:, self.log_scale_] if self.outputs else np.full(len(values), np.log(0.5))

    def _outputs(self, values: Values) -> Values:
        """What the logits and the probes say: their distribution, and the largest of them in order."""
        if not self.outputs:
            return np.empty((len(values), 0))
        logits = np.sort(values[:, self.logits_], axis=1)[:, ::-1][:, :_SORTED]
        return np.hstack([values[:, self.outputs_], logits, logits[:, :1] - logits[:, 1:2]])

    def _known_features(self, values: Values, distances: Values) -> Values:
        wanted = [self.views_.index(view) for view in _KNOWN_VIEWS if view in self.views_]
        parts = [self._outputs(values), *distances[wanted]]
        if self.outputs and len(self.logits_) <= _MOST_CLASSES:
            parts += [values[:, self.logits_], np.eye(len(self.logits_))[self._predicted(values)]]
        return np.hstack(parts)


def _views_of(values: Values, columns: NDArray[np.intp]) -> Values:
    """[views, n, d] of features [n, features], by columns [views, d]."""
    return np.ascontiguousarray(values[:, columns].transpose(1, 0, 2))


def _far(distances: Values) -> Values:
    """[n, views] distances to the nearest class, by which what is farther is less known."""
    return np.ascontiguousarray(distances[:, :, NEAREST].T)


def _others(distances: Values, outputs: Values) -> Values:
    """How much farther the predicted class is, and the next one; and the outputs."""
    farther = np.diff(distances[:, :, [NEAREST, OWN, NEXT]], axis=2)
    return np.hstack([*farther, outputs])


def _ratios_of_known(head: UnknownHead, far: Values, others: Values, kinds: NDArray[np.int64]) -> Values:
    """[known, kinds] of a fitted head; of few known inputs those of heads that had not seen them."""
    known = kinds == KNOWN
    if np.count_nonzero(known) >= _MANY:
        return head.log_ratios(far[known], others[known])
    ratios = np.empty((len(kinds), len(head.models_)))
    for rest, rows in _folds(known):
        rest = np.concatenate([rest, np.flatnonzero(~known)])
        apart = UnknownHead().fit(far[rest], others[rest], kinds[rest])
        ratios[rows] = apart.log_ratios(far[rows], others[rows])
    found: Values = ratios[known]
    return found


def _folds(known: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows of the known samples, in five parts: those of the others and those of the part."""
    rows = np.flatnonzero(known)
    for others, own in KFold(FOLDS, shuffle=True, random_state=0).split(rows):
        yield rows[others], rows[own]
