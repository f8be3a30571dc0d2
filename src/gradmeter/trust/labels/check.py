"""LabelCheck: the probability that each given label is right, learned from labels that gradmeter corrupts itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from gradmeter.errors import InputError
from gradmeter.stages import stage
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.features import GRADIENTS
from gradmeter.trust.labels.corruption import SHARE, Corruption, corrupt
from gradmeter.trust.labels.inputs import LabelReadings, Labels, Values
from gradmeter.trust.labels.mixture import Mixture, fit_mixture
from gradmeter.trust.labels.rate import rate_interval
from gradmeter.trust.labels.reasons import layer_objections, reasons_of, suggestions_of
from gradmeter.trust.labels.scores import LabelScores
from gradmeter.trust.log_features import LogFeatures

# A mixture is fitted to at most this many given labels.
_MOST_ROWS = 30_000
# Statistics of gradients are many and correlated: their first principal components are read, and get a smaller weight
# for the same penalty.
_COMPONENTS, _OF_STATISTICS = 8, 0.3


@dataclass(frozen=True, eq=False)
class LabelVerdicts:
    """Verdicts on N given labels.

    Attributes:
        p_label: [N] probability that the given label is right.
        log_odds: [N] log odds that it is wrong, which do not round.
        suggestion: [N] most likely class other than the given one.
        reason: [N] "wrong label", "unfamiliar input", "ambiguous", or "" for a label that is likely right.
        rank: [N] 1 for the label that is most likely wrong.
        layers: [N] layers whose gradient at the given label exceeds 95 % of those at labels that are likely right,
            the largest first; empty without gradients.
        rate: estimated share of wrong labels, with a 95 % interval.
        neighbours: [N, k] rows of the nearest neighbours in the embedding; -1 where there is none.
    """

    p_label: Values
    log_odds: Values
    suggestion: Labels
    reason: NDArray[np.str_]
    rank: Labels
    layers: list[tuple[str, ...]]
    rate: Interval
    neighbours: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self.p_label)


class LabelCheck:
    """Estimate for each given label the probability that it is right.

    A part of the labels is corrupted in three ways. A mixture model tells right labels, wrong labels of each kind, and
    how many of the given labels are wrong, by the evidence of `LabelScores`; each label is judged by a mixture that was
    fitted without it and without copies of its input.

    Args:
        gradients: whether to use the gradients of the readings, which must then be able to read more of them.
        folds: number of folds.
        seed: of all random choices.

    Example:
        >>> verdicts = LabelCheck().fit_predict(read_labels(GradientMeter(model), images, labels))
        >>> verdicts.p_label.argsort()[:10]
    """

    def __init__(self, *, gradients: bool = False, folds: int = 5, seed: int = 0) -> None:
        if folds < 2:
            raise InputError(f"folds={folds}; expected at least 2")
        self.gradients, self.folds, self.seed = gradients, folds, seed

    def fit_predict(self, inputs: LabelReadings) -> LabelVerdicts:
        """Return verdicts on the given labels.

        Raises:
            InputError: if all labels are of one class, there are fewer distinct inputs than folds, or gradients are
                wanted and the readings have none.
        """
        # Copies of an input share a fold.
        distinct = len(inputs) if inputs.contents is None else len(np.unique(inputs.contents))
        if distinct < self.folds:
            raise InputError(f"{distinct:,} different inputs for {self.folds} folds; expected at least one for each")
        if self.gradients and (inputs.given is None or inputs.at is None):
            raise InputError("the readings have no gradients; read with read_labels(..., gradients=True)")
        scores = LabelScores(inputs, seed=self.seed)
        # Without gradients, a second label costs nothing.
        corruption = corrupt(scores, self.seed, SHARE if self.gradients else 1.0)
        statistics = _statistics(inputs, corruption) if self.gradients else None
        with threadpool_limits(1):
            everyone = np.ones(len(inputs), np.bool_)
            first = _Evidence.of(scores, corruption, statistics)
            p_label = expit(-first.fit(everyone, self.seed).log_odds(first.given))
            # Neighbours whose labels are doubtful count less.
            scores = scores.trusting(p_label)
            return self._judge(scores, _Evidence.of(scores, corruption, statistics))

    def _judge(self, scores: LabelScores, evidence: _Evidence) -> LabelVerdicts:
        inputs = scores.inputs
        fold = folds_of(inputs, self.folds, self.seed)
        whole = evidence.fit(np.ones(len(inputs), np.bool_), self.seed)
        log_odds = np.empty(len(inputs))
        with stage("judging labels", self.folds) as advance:
            for number in range(self.folds):
                held_out = fold == number
                mixture = evidence.fit(~held_out, self.seed, start=whole)
                log_odds[held_out] = mixture.log_odds(evidence.given[held_out])
                advance(1)
        rate = rate_interval(evidence.given, evidence.corrupted, evidence.corruption.kinds, whole, evidence.rising)
        p_label = expit(-log_odds)
        rank = np.empty(len(inputs), np.int64)
        rank[np.argsort(-log_odds, kind="stable")] = np.arange(1, len(inputs) + 1)
        return LabelVerdicts(
            p_label,
            log_odds,
            suggestions_of(scores),
            reasons_of(scores, p_label),
            rank,
            layer_objections(inputs.given if self.gradients else None, p_label),
            rate,
            scores.neighbours.rows,
        )


def folds_of(inputs: LabelReadings, folds: int, seed: int) -> Labels:
    """Return the fold of each input [N]; copies of an input share one."""
    groups = np.arange(len(inputs))
    if inputs.contents is not None:
        groups = np.unique(inputs.contents, return_inverse=True)[1]
    order = np.random.default_rng([seed, 2]).permutation(int(groups.max()) + 1)
    return np.asarray(order[groups] % folds, np.int64)


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Standardised evidence against given and against corrupted labels.

    Attributes:
        given: [N, d].
        corrupted: [m, d].
        corruption: the corrupted labels.
        rising: number of the first columns that never speak for a label.
    """

    given: Values
    corrupted: Values
    corruption: Corruption
    rising: int

    @classmethod
    def of(cls, scores: LabelScores, corruption: Corruption, statistics: tuple[Values, Values] | None) -> _Evidence:
        """Collect the evidence of scores, and statistics of gradients [N, k] and [m, k], if there are any."""
        given = scores.evidence(scores.inputs.labels)
        corrupted = scores.evidence(corruption.labels, corruption.rows)
        rising = given.shape[1]
        given, corrupted = _standardised(given, corrupted)
        if statistics is not None:
            given, corrupted = np.hstack([given, statistics[0]]), np.hstack([corrupted, statistics[1]])
        return cls(given, corrupted, corruption, rising)

    def fit(self, train: NDArray[np.bool_], seed: int, start: Mixture | None = None) -> Mixture:
        """Fit a mixture to the inputs of a mask [N]; of many, to a random part."""
        rows = np.flatnonzero(train)
        if len(rows) > _MOST_ROWS:
            rows = np.random.default_rng([seed, 3]).choice(rows, _MOST_ROWS, replace=False)
        seen = train[self.corruption.rows]
        kinds = self.corruption.kinds[seen]
        return fit_mixture(self.given[rows], self.corrupted[seen], kinds, rising=self.rising, start=start)


def _statistics(inputs: LabelReadings, corruption: Corruption) -> tuple[Values, Values]:
    """Return components [N, k] and [m, k] of the statistics of gradients at the given and at the corrupted labels."""
    assert inputs.given is not None
    assert inputs.at is not None
    features = LogFeatures.chosen(inputs.given)
    columns = features.axes.of(GRADIENTS)
    both = (inputs.given, inputs.at(corruption.rows, corruption.labels))
    values = [features.block(readings).values[:, columns] for readings in both]
    rows = np.concatenate(values)
    components = PCA(min(_COMPONENTS, *rows.shape), whiten=True, random_state=0)
    reduction = make_pipeline(StandardScaler(), components).fit(rows)
    given, corrupted = (_OF_STATISTICS * reduction.transform(part) for part in values)
    return given, corrupted


def _standardised(given: Values, corrupted: Values) -> tuple[Values, Values]:
    scaler = StandardScaler().fit(np.concatenate([given, corrupted]))
    return scaler.transform(given), scaler.transform(corrupted)
