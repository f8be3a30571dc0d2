"""The default meta classifier: P(correct) from P(the input is unknown) and P(the prediction is wrong | known)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import KFold

from gradmeter.errors import InputError
from gradmeter.reading.probes.mirror import MIRROR, MIRROR_LOGIT
from gradmeter.reading.readings import Readings
from gradmeter.stages import Advance
from gradmeter.trust.confidence import KnownFeatures, softmax_log_odds
from gradmeter.trust.densities import NEAREST, NEXT, PREDICTED, ClassDensities
from gradmeter.trust.features import (
    ACTIVATIONS,
    EMBEDDING,
    GRADIENTS,
    LOGITS,
    OUTPUTS,
    SCORES,
    Feature,
    FeatureAxes,
    FeatureBlock,
)
from gradmeter.trust.folds import plain_folds
from gradmeter.trust.kind_shares import kind_log_odds, tolerated_loss, unknown_log_odds
from gradmeter.trust.known_head import FOLDS, KnownHead
from gradmeter.trust.layer_ranges import LayerValues, distance_values, quantiles_of
from gradmeter.trust.levelled import UNFAMILIAR_SHARE, LevelledOdds, upper_quantile
from gradmeter.trust.log_features import LOG_SCALE, LogFeatures, negligible_ranges
from gradmeter.trust.meta_classifier import CORRECT, UNKNOWN, WRONG, CrossFit, Judgement, TrainingData
from gradmeter.trust.near_unknown import NearUnknown
from gradmeter.trust.ranking import fallback_reason
from gradmeter.trust.unknown_head import KNOWN, UnknownHead

Values = NDArray[np.float64]

LEAST_KNOWN = 50
"""Smallest number of right predictions from which the spread of known inputs can be estimated."""

LEARNED, SOFTMAX = "learned", "softmax"
RANKINGS = (LEARNED, SOFTMAX)

# From this number of known inputs on, in-sample ratios are as good as held-out ones, which take five times as long.
_MANY = 5000
# With more classes than this, the known head uses neither the single logits nor the predicted class.
MOST_CLASSES = 100
SORTED = 10
_LAYER_VIEW = "activations of "
# Origins that are named for an unfamiliar input: this many, and only those in which it is this many standard deviations
# farther from known inputs than these are on average.
MOST_ORIGINS, LEAST_DEVIATION = 3, 2.0
# The known head uses no distances of single layers: there are many of them, and few wrong predictions to learn from.
KNOWN_VIEWS = (EMBEDDING, GRADIENTS, ACTIVATIONS)
# Groups of features of the known head, and the inverse penalties to try. The more features, the stronger the penalty.
_STRENGTHS = {OUTPUTS: (1e-2, 1e-1, 1.0), EMBEDDING: (1e-2,), ACTIVATIONS: (1e-3,), GRADIENTS: (1e-3,)}
# A regression on a longer embedding, and on its direction, would take minutes.
LONGEST_EMBEDDING = 512
_MIRRORED, _MIRRORED_LOGIT = Feature(SCORES, MIRROR), Feature(SCORES, MIRROR_LOGIT)


class TwoHeads(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """P(correct) = P(correct | known) P(known).

    `KnownHead` learns P(correct | known) from validation labels. `UnknownHead` learns likelihood ratios of unknown to
    known inputs from class-conditional densities of the readings and from unknown inputs, at least synthetic ones.

    P(known) also needs the share of each kind of unknown inputs. By default each share is as large as the known inputs
    tolerate: all kinds together may lower the average P(known) of known inputs by a fifth of the error rate and by at
    most 1 % (`kind_log_odds`). P(correct) is then a probability for known inputs, up to that loss, and kinds that are
    easy to separate from known inputs are assumed to be common. Unknown inputs that resemble known ones are another
    kind (`NearUnknown`), if it does not worsen the ranking of wrong predictions; it costs known inputs up to 0.02 of
    P(correct).

    Args:
        unknown_share: assumed share of unknown inputs, split equally between their kinds, of which the copies of known
            inputs in `UnknownHead` are one; None for the share that known inputs tolerate.
        outputs: whether to use features of the logits in addition to distances; False for a control experiment.
        ranking: "learned"; or "softmax": P(correct | known) is a function of the softmax alone, and P(known) lowers
            P(correct) by one factor for the 99 % most familiar known inputs, so that P(correct) ranks these as the
            softmax does. There are no `NearUnknown`: their share rests on the ranking of wrong predictions, which then
            is worse than the softmax's, or unknown.

    Attributes:
        classes_: `WRONG`, `CORRECT`, `UNKNOWN`.
        kind_log_odds_: [kinds] log of the share of each kind over the share of known inputs.
        unknown_share_: assumed share of all unknown inputs.
        known_loss_: by how much P(correct) of known inputs is below P(correct | known), on average and as a part of it.
        near_: `NearUnknown`; None if the share of unknown inputs was given, with ranking "softmax", or for a control
            experiment.
        familiar_log_odds_: largest log odds of being unknown of a familiar input; all known inputs but the share
            `UNFAMILIAR_SHARE` are familiar.
        levelled_: what lowers P(correct) with ranking "softmax".
        nearest_mean_, nearest_spread_: [views] mean and standard deviation of the distances of known inputs.
        nearest_quantiles_: [views, levels] quantiles of the distances of right predictions, at
            `gradmeter.trust.layer_ranges.LEVELS`.
        views_: names of the views in which distances are taken: "gradients", "activations", the activations of each
            layer, "embedding".
        stacks_: for each group of views of the same width their indices in `views_`, and their columns [views, d].
        densities_: `ClassDensities` of each stack, fitted to four of five folds.
    """

    learns_from_synthetic = True
    steps = FOLDS + 1

    def __init__(self, unknown_share: float | None = None, outputs: bool = True, ranking: str = LEARNED) -> None:
        self.unknown_share = unknown_share
        self.outputs = outputs
        self.ranking = ranking

    def features(self, readings: Readings) -> LogFeatures:
        """Select all features."""
        return LogFeatures.everything(readings)

    def require_enough(self, right: int, wrong: int, unknown: int) -> None:
        """Check that at least `LEAST_KNOWN` predictions are right.

        Raises:
            InputError: if there are fewer.
        """
        if right < LEAST_KNOWN:
            inputs = "input is" if right == 1 else "inputs are"
            raise InputError(
                f"{right} different {inputs} predicted right; expected at least {LEAST_KNOWN}: give more data; if the "
                "network is right more often, check the order of its classes, the labels and the preprocessing"
            )

    def fit(self, X: FeatureBlock, y: NDArray[np.int64]) -> Self:
        """Fit to the features of n samples and their classes [n], some of which must be `CORRECT`.

        Raises:
            InputError: if the features lack the logits, or an option is invalid.
        """
        if self.ranking not in RANKINGS:
            raise InputError(f"ranking={self.ranking!r}; expected {' or '.join(RANKINGS)}")
        if self.unknown_share is not None and not 0 < self.unknown_share < 1:
            raise InputError(f"unknown_share={self.unknown_share!r}; expected a share strictly between 0 and 1")
        self.classes_ = np.array([WRONG, CORRECT, UNKNOWN])
        values, known = X.values, y < UNKNOWN
        # Features may vary in unknown inputs only, and by rounding errors in known ones.
        negligible = negligible_ranges(X.axes.features, values[known])
        self._locate(X.axes, np.ptp(values[known], axis=0) > negligible)
        distances = self._fit_densities(values, known, y == CORRECT, negligible)
        outputs = self._outputs(values)
        strengths = _STRENGTHS if self.outputs else {OUTPUTS: _STRENGTHS[OUTPUTS]}
        features = self._known_features(values[known], distances[:, known], outputs[known], strengths)
        self.known_ = KnownHead(strengths)
        wrong_odds = self.known_.fit_held_out(features, y[known] == WRONG)
        nearest, signed = _nearest(distances), _signed(distances, outputs)
        self.nearest_mean_, spread = nearest[known].mean(axis=0), nearest[known].std(axis=0)
        self.nearest_spread_ = np.where(spread > 0, spread, 1.0)
        self.nearest_quantiles_ = quantiles_of(nearest[y == CORRECT])
        kinds = np.where(known, KNOWN, y - UNKNOWN)
        self.unknown_ = UnknownHead().fit(nearest, signed, kinds)
        ratios = _ratios_of_known(self.unknown_, nearest, signed, kinds)
        self._fit_shares(ratios, features, wrong_odds, self._largest_logits(values[known]), y[known] == WRONG)
        return self

    def _fit_densities(
        self, values: Values, known: NDArray[np.bool_], right: NDArray[np.bool_], negligible: Values
    ) -> Values:
        """Fit densities to the right predictions; return distances [views, n, 3] to those of five folds.

        Known samples are measured by the density that was fitted without them, because they would be too near to
        others. Unknown ones are shared between the five: with a density of their own, the unknown head would learn to
        tell the densities apart. Later inputs are measured by the most typical of the five, and not by one that is
        fitted to all samples: the more samples, the farther it takes other classes to be from inputs that hardly vary
        within a class.
        """
        predicted, unknown = self._predicted(values), np.flatnonzero(~known)
        self.densities_, distances = [], np.empty((len(self.views_), len(values), 3))
        for indices, columns in self.stacks_:
            views, folds, means = _views(values, columns), list[ClassDensities](), list[Values]()
            for fold, (train, test) in enumerate(_folds(known)):
                train, measured = train[right[train]], np.concatenate([test, unknown[fold::FOLDS]])
                folds.append(ClassDensities().fit(views[:, train], predicted[train], negligible[columns]))
                distances[np.ix_(indices, measured)] = folds[-1].distances(views[:, measured], predicted[measured])
                means.append(distances[np.ix_(indices, test)].mean(axis=1))
            self.densities_.append(folds[_typical(np.stack(means), distances[np.ix_(indices, known)].std(axis=1))])
        return distances

    def _fit_shares(
        self, ratios: Values, features: KnownFeatures, wrong_odds: Values, largest: Values, wrong: NDArray[np.bool_]
    ) -> None:
        """Choose the shares of unknown inputs, and thresholds of familiarity.

        Args:
            ratios: [known, kinds] log likelihood ratios of known inputs.
            features: of the known inputs.
            wrong_odds: [known] held-out log odds that the prediction is wrong.
            largest: [known] largest logits.
            wrong: [known] whether the prediction is wrong.
        """
        self.near_ = None
        if self.unknown_share is None:
            self.kind_log_odds_ = kind_log_odds(ratios, tolerated_loss(wrong))
            if self.outputs and self.ranking == LEARNED:
                odds = unknown_log_odds(ratios, self.kind_log_odds_)
                self.near_ = NearUnknown().fit(largest, wrong_odds, odds, wrong)
        else:
            kinds = ratios.shape[1]
            self.kind_log_odds_ = np.full(kinds, logit(self.unknown_share) - np.log(kinds))
        shares = [] if self.near_ is None else [self.near_.log_share_]
        self.unknown_share_ = float(expit(logsumexp([*self.kind_log_odds_, *shares])))
        unknown_odds = self._unknown_odds(ratios, largest)
        by_softmax = expit(-self.known_.log_odds(features, by_softmax=True))
        self.levelled_ = LevelledOdds().fit(unknown_odds[SOFTMAX], by_softmax)
        right = by_softmax if self.ranking == SOFTMAX else expit(-self.known_.log_odds(features))
        self.known_loss_ = float((right * expit(unknown_odds[self.ranking])).sum() / right.sum())
        self.familiar_log_odds_ = upper_quantile(unknown_odds[self.ranking], UNFAMILIAR_SHARE)

    def cross_fit(self, data: TrainingData, advance: Advance) -> CrossFit:
        """Fit to all samples, and judge each sample that is not synthetic by heads fitted without its fold.

        The heads of each fold learn from the other folds and from all synthetic samples. Known inputs are ranked by
        the softmax if the learned ranking separates the held-out wrong predictions worse. Copies of an input count
        once: they would be in the densities that are to show how far a new input is from known ones.
        """
        data, numbers = data.distinct()
        target, synthetic = data.target, np.arange(data.given, len(data.target))
        parts: dict[str, list[Judgement]] = {ranking: [] for ranking in RANKINGS}
        folds, tests = np.empty(data.given, np.int64), []
        for fold, (train, test) in enumerate(plain_folds(data.contents, target[: data.given] == CORRECT)):
            rows = np.concatenate([train, synthetic])
            heads = TwoHeads(self.unknown_share, self.outputs)
            heads.fit(data.block.rows(rows), target[rows])
            wrong_odds, unknown_odds = heads._evaluate(data.block.values[test], RANKINGS)
            folds[test] = fold
            tests.append(test)
            for ranking in RANKINGS:
                parts[ranking].append(heads._combine(wrong_odds[ranking], unknown_odds[ranking], ranking))
            advance(1)
        order, known = np.argsort(np.concatenate(tests)), slice(data.known)
        held_out = {ranking: Judgement.concatenate(parts[ranking]).rows(order) for ranking in RANKINGS}
        learned = held_out[LEARNED].p_correct[known]
        reason = fallback_reason(learned, data.softmax[known], target[known] == WRONG, folds[known])
        ranking = LEARNED if reason is None else SOFTMAX
        heads = TwoHeads(self.unknown_share, self.outputs, ranking).fit(data.block, target)
        return CrossFit(heads, held_out[ranking].rows(numbers), folds[numbers], reason)

    @property
    def assumed_unknown_share(self) -> float:
        """The share of unknown inputs for which P(correct) is a probability."""
        return self.unknown_share_

    @property
    def known_loss(self) -> float | None:
        """The average loss of P(known) of known inputs; None if the share of unknown inputs was given."""
        return self.known_loss_ if self.unknown_share is None else None

    def predict_proba(self, X: FeatureBlock) -> Values:
        """Return P(known and wrong), P(known and correct) and P(unknown), [n, 3]."""
        wrong_odds, unknown_odds = self._evaluate(X.values, [self.ranking])
        odds = self._effective_odds(unknown_odds[self.ranking], self.ranking)
        p, p_known = expit(wrong_odds[self.ranking]), expit(-odds)
        return np.stack([p * p_known, (1 - p) * p_known, expit(odds)], axis=1)

    def predict(self, X: FeatureBlock) -> NDArray[np.int64]:
        """Return the most probable of `classes_`, [n]."""
        predictions: NDArray[np.int64] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return predictions

    def judge(self, block: FeatureBlock) -> Judgement:
        """Judge n predictions."""
        wrong_odds, unknown_odds = self._evaluate(block.values, [self.ranking])
        return self._combine(wrong_odds[self.ranking], unknown_odds[self.ranking], self.ranking)

    def unfamiliar_origins(self, block: FeatureBlock) -> list[tuple[str, ...]]:
        """Return the single layers, or the embedding, in which the input is farthest from known ones, up to three."""
        origins, columns = self.origins()
        nearest = _nearest(self._distances(block.values))
        farther = ((nearest - self.nearest_mean_) / self.nearest_spread_)[:, columns]
        names = np.array(origins, dtype=object)
        order = np.argsort(-farther, axis=1)[:, :MOST_ORIGINS]
        return [
            tuple(names[row_order[row[row_order] > LEAST_DEVIATION]])
            for row, row_order in zip(farther, order, strict=True)
        ]

    def layer_distances(self, block: FeatureBlock) -> list[LayerValues]:
        """Return the distances of the layers' outputs and of the embedding from the nearest class, in a list of one."""
        origins, columns = self.origins()
        if not origins:
            return []
        nearest = _nearest(self._distances(block.values))[:, columns]
        return [distance_values(origins, nearest, self.nearest_quantiles_[columns])]

    def origins(self) -> tuple[list[str], list[int]]:
        """Return the names of the single layers and of the embedding, and their indices in `views_`."""
        names = {view: view.removeprefix(_LAYER_VIEW) for view in self.views_ if view.startswith(_LAYER_VIEW)}
        names |= {EMBEDDING: EMBEDDING} if EMBEDDING in self.views_ else {}
        return list(names.values()), [self.views_.index(view) for view in names]

    def _distances(self, values: Values) -> Values:
        """Return the distances of each view, [views, n, 3]."""
        predicted, distances = self._predicted(values), np.empty((len(self.views_), len(values), 3))
        for (indices, columns), density in zip(self.stacks_, self.densities_, strict=True):
            distances[indices] = density.distances(_views(values, columns), predicted)
        return distances

    @property
    def second_look(self) -> float | None:
        """Log odds of the softmax above which the mirror image is needed, too; None for never."""
        return None if self.ranking == SOFTMAX else self.known_.second_look_

    def _evaluate(self, values: Values, rankings: Sequence[str]) -> tuple[dict[str, Values], dict[str, Values]]:
        """Return the log odds [n] of being wrong, and those that the input is unknown, each by ranking."""
        distances, outputs = self._distances(values), self._outputs(values)
        features = self._known_features(values, distances, outputs, self.known_.groups)
        wrong_odds = {ranking: self.known_.log_odds(features, by_softmax=ranking == SOFTMAX) for ranking in rankings}
        ratios = self.unknown_.log_ratios(_nearest(distances), _signed(distances, outputs))
        return wrong_odds, self._unknown_odds(ratios, self._largest_logits(values))

    def _unknown_odds(self, ratios: Values, largest: Values) -> dict[str, Values]:
        """Return the log odds [n] of being unknown by ranking, from ratios [n, kinds] and the largest logits [n]."""
        odds = unknown_log_odds(ratios, self.kind_log_odds_)
        learned = odds if self.near_ is None else np.logaddexp(odds, self.near_.log_odds(largest))
        return {LEARNED: learned, SOFTMAX: odds}

    def _largest_logits(self, values: Values) -> Values:
        """Return the largest logits [n]; of two views where these decide whether the prediction is right."""
        largest: Values = values[:, self.logits_].max(axis=1)
        above = self.known_.second_look_
        if above is None or self.mirrored_logit_ is None:
            return largest
        looked = softmax_log_odds(values[:, self.log_scale_]) > above
        return np.where(looked, values[:, self.mirrored_logit_], largest)

    def _combine(self, wrong_odds: Values, odds: Values, ranking: str) -> Judgement:
        """Judge n predictions from the log odds of being wrong and of being unknown, both by this ranking."""
        p_correct_if_known = expit(-wrong_odds)
        p_correct = p_correct_if_known * expit(-self._effective_odds(odds, ranking))
        return Judgement(p_correct, odds <= self._familiar_odds(ranking), expit(-odds), p_correct_if_known)

    def _familiar_odds(self, ranking: str) -> float:
        """Return the largest log odds of being unknown of a familiar input."""
        return self.levelled_.familiar_ if ranking == SOFTMAX else self.familiar_log_odds_

    def _effective_odds(self, odds: Values, ranking: str) -> Values:
        """Return the log odds [n] of being unknown that lower P(correct)."""
        return self.levelled_(odds) if ranking == SOFTMAX else odds

    def _locate(self, axes: FeatureAxes, varies: NDArray[np.bool_]) -> None:
        """Find the columns of the logits, of the outputs, of each view and of the known head's groups.

        Args:
            axes: the features.
            varies: [features] whether they vary in known inputs; others are in no group.

        Raises:
            InputError: if the logits or log(1 - p) are missing.
        """
        self.logits_ = axes.of(LOGITS)
        if LOG_SCALE not in axes.features or not len(self.logits_):
            raise InputError("features have no log_scale and logits; expected those of LogFeatures.everything")
        self.log_scale_ = axes.features.index(LOG_SCALE)
        self.mirrored_ = axes.features.index(_MIRRORED) if _MIRRORED in axes.features else None
        self.mirrored_logit_ = axes.features.index(_MIRRORED_LOGIT) if _MIRRORED_LOGIT in axes.features else None
        mirrored = (_MIRRORED, _MIRRORED_LOGIT)
        self.outputs_ = axes.where(lambda feature: feature.source in (OUTPUTS, SCORES) and feature not in mirrored)
        views = {source: axes.of(source) for source in (GRADIENTS, ACTIVATIONS)}
        layers = np.array([feature.layer for feature in axes.features])[views[ACTIVATIONS]]
        for layer in dict.fromkeys(layers.tolist()):
            views[f"{_LAYER_VIEW}{layer}"] = views[ACTIVATIONS][layers == layer]
        views[EMBEDDING] = self.embedding_ = axes.of(EMBEDDING)
        groups = {source: axes.of(source) for source in (ACTIVATIONS, GRADIENTS)}
        self.groups_ = {source: columns[varies[columns]] for source, columns in groups.items()}
        views = {view: columns for view, columns in views.items() if len(columns)}
        self.views_ = list(views)
        by_width: dict[int, list[int]] = {}
        for index, columns in enumerate(views.values()):
            by_width.setdefault(len(columns), []).append(index)
        self.stacks_ = [
            (np.array(indices), np.stack([views[self.views_[index]] for index in indices]))
            for indices in by_width.values()
        ]

    def _predicted(self, values: Values) -> NDArray[np.int64]:
        """Return the predicted classes [n]."""
        predicted: NDArray[np.int64] = values[:, self.logits_].argmax(axis=1)
        return predicted

    def _outputs(self, values: Values) -> Values:
        """Return the features of the softmax, the scores, the sorted largest logits and their margin, [n, k]."""
        if not self.outputs:
            return np.empty((len(values), 0))
        logits = np.sort(values[:, self.logits_], axis=1)[:, ::-1][:, :SORTED]
        return np.concatenate([values[:, self.outputs_], logits, logits[:, :1] - logits[:, 1:2]], axis=1)

    def _known_features(
        self, values: Values, distances: Values, outputs: Values, groups: Collection[str]
    ) -> KnownFeatures:
        """Return what the known head sees, with these groups of features; without outputs, distances alone."""
        logits = values[:, self.logits_]
        by_group = {name: self._group(name, values, distances, outputs) for name in groups}
        by_group = {name: group for name, group in by_group.items() if group.shape[1]}
        if not self.outputs:
            return KnownFeatures(np.zeros_like(logits), np.full(len(values), np.log(0.5)), by_group)
        mirrored = None if self.mirrored_ is None else values[:, self.mirrored_]
        return KnownFeatures(logits, values[:, self.log_scale_], by_group, mirrored)

    def _group(self, name: str, values: Values, distances: Values, outputs: Values) -> Values:
        """Return a group of features of the known head, [n, k]; [n, 0] if there are none."""
        if name in self.groups_:
            return values[:, self.groups_[name]]
        if name == EMBEDDING and not 0 < len(self.embedding_) <= LONGEST_EMBEDDING:
            return np.empty((len(values), 0))
        views = [self.views_.index(view) for view in KNOWN_VIEWS if view in self.views_]
        parts = [outputs, *distances[views]]
        if self.outputs and len(self.logits_) <= MOST_CLASSES:
            parts += [values[:, self.logits_], np.eye(len(self.logits_))[self._predicted(values)]]
        if name == EMBEDDING:
            embedding = values[:, self.embedding_]
            lengths = np.linalg.norm(embedding, axis=1, keepdims=True)
            parts += [embedding, embedding / np.where(lengths > 0, lengths, 1)]
        return np.concatenate(parts, axis=1)


def _views(values: Values, columns: NDArray[np.intp]) -> Values:
    """Return views [views, n, d] of features [n, features], from their columns [views, d]."""
    return np.ascontiguousarray(values[:, columns].transpose(1, 0, 2))


def _typical(means: Values, spread: Values) -> int:
    """Return the fold whose mean distances [folds, views, 3] are nearest to the medians, in units of their spread."""
    deviations = np.abs(means - np.median(means, axis=0)) / np.where(spread > 0, spread, 1.0)
    return int(deviations.sum(axis=(1, 2)).argmin())


def _nearest(distances: Values) -> Values:
    """Return the distances to the nearest class [n, views]: P(unknown) must not fall as they grow."""
    return np.ascontiguousarray(distances[:, :, NEAREST].T)


def _signed(distances: Values, outputs: Values) -> Values:
    """Return features [n, k] whose weights may have either sign: differences of distances, and the outputs."""
    ordered = distances[:, :, [NEAREST, PREDICTED, NEXT]].transpose(1, 0, 2)
    differences = ordered[:, :, 1:] - ordered[:, :, :-1]
    return np.concatenate([differences.reshape(len(outputs), -1), outputs], axis=1)


def _ratios_of_known(head: UnknownHead, nearest: Values, signed: Values, kinds: NDArray[np.int64]) -> Values:
    """Return the log likelihood ratios [known, kinds] of the known inputs; held-out ones if there are few inputs."""
    known = kinds == KNOWN
    if np.count_nonzero(known) >= _MANY:
        return head.log_ratios(nearest[known], signed[known])
    ratios = np.empty((len(kinds), len(head.intercept_)))
    for train, test in _folds(known):
        train = np.concatenate([train, np.flatnonzero(~known)])
        held_out = UnknownHead(head.factors_).fit(nearest[train], signed[train], kinds[train])
        ratios[test] = held_out.log_ratios(nearest[test], signed[test])
    known_ratios: Values = ratios[known]
    return known_ratios


def _folds(known: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split the rows of the known samples into train and test rows, five times."""
    rows = np.flatnonzero(known)
    for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(rows):
        yield rows[train], rows[test]
