"""What gradients at the labels add, learned from labels that are corrupted on purpose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from gradmeter.stages import stage
from gradmeter.trust.features import GRADIENTS as GRADIENT_FEATURES
from gradmeter.trust.labels.corruption import KINDS, Corruption, corrupt
from gradmeter.trust.labels.inputs import LabelReadings, Labels, Values
from gradmeter.trust.labels.judge import Judge
from gradmeter.trust.labels.mixture import Mixture, fit_mixture
from gradmeter.trust.log_features import LogFeatures
from gradmeter.trust.reads import FORWARD, GRADIENTS, ReadsChoice
from gradmeter.trust.scaling import array_scaler

Contents = NDArray[np.uint64]

# A mixture is fitted to at most this many given labels.
_MOST_ROWS = 30_000
# Statistics of gradients are many and correlated: their first principal components are read, and get a smaller weight
# for the same penalty.
_COMPONENTS, _OF_STATISTICS = 8, 0.3
# Components with less than this share of the variance are rounding errors: of a network with a single layer, all
# statistics have fewer dimensions.
_NEGLIGIBLE = 1e-6
# Gradients count if their gain on corrupted labels is above zero with this confidence.
_CONFIDENCE = 0.95


def with_gradients(judge: Judge, fold: Labels, seed: int) -> tuple[Values, ReadsChoice]:
    """Return the log odds [N] that the given labels are wrong, with gradients if they help, else those of the judge.

    A mixture of right labels and of labels that were corrupted on purpose is fitted to the judge's log odds and the
    statistics of the gradients. Each label is scored by a mixture that was fitted without it. The gradients count if
    they then tell the corrupted labels better from the given ones than the judge alone does.

    Args:
        judge: the judge, whose inputs have gradients.
        fold: [N] number of each input's fold.
        seed: of the corruption, and of the draw of rows if there are many.

    Returns:
        The log odds, and whether the gradients count and why.
    """
    inputs = judge.scores.inputs
    corruption = corrupt(judge.scores, seed)
    alone = judge.log_odds(inputs.labels), judge.log_odds(corruption.labels, corruption.rows)
    evidence = _Evidence.of(inputs, corruption, *alone)
    of_corrupted = fold[corruption.rows]
    together = np.empty(len(inputs)), np.empty(len(corruption.rows))
    whole = evidence.fit(np.ones(len(inputs), np.bool_), corruption, seed)
    numbers = np.unique(fold)
    with stage("judging labels", len(numbers)) as advance:
        for number in numbers:
            mixture = evidence.fit(fold != number, corruption, seed, start=whole)
            together[0][fold == number] = mixture.log_odds(evidence.given[fold == number])
            together[1][of_corrupted == number] = mixture.log_odds(evidence.corrupted[of_corrupted == number])
            advance(1)
    # The kinds weigh as the judge estimates their share among the wrong labels.
    any_other = corruption.kinds == KINDS.index("symmetric")
    weights = np.where(any_other, 1 - judge.model.confused, judge.model.confused / 2)
    contents = np.arange(len(inputs), dtype=np.uint64) if inputs.contents is None else inputs.contents
    choice = _choice(len(inputs), *auroc_gain(alone, together, weights, (contents, contents[corruption.rows])))
    share = max(judge.rate.value, judge.model.rate)
    return alone[0] if choice.reads == FORWARD else _with_mean(together[0], share), choice


def _choice(labels: int, gain: float, deviation: float) -> ReadsChoice:
    """Choose by the gain on corrupted labels and its standard deviation."""
    least = gain - norm.ppf(_CONFIDENCE) * deviation
    reason = (
        f"on held-out folds gradients change the AUROC of labels corrupted on purpose by {100 * gain:+.2f} points, at "
        f"least {100 * least:+.2f} with {100 * _CONFIDENCE:.0f} % confidence"
    )
    return ReadsChoice(GRADIENTS if least > 0 else FORWARD, reason, labels)


def auroc_gain(
    first: tuple[Values, Values], second: tuple[Values, Values], weights: Values, contents: tuple[Contents, Contents]
) -> tuple[float, float]:
    """Return how much larger the AUROC of the second scores is, and its standard deviation (DeLong et al. 1988).

    Copies of an input add no evidence: their parts of the deviation are summed first (Obuchowski 1997).

    Args:
        first: scores [n] of negatives and [m] of positives.
        second: other scores of the same.
        weights: [m] of the positives.
        contents: [n] and [m] equal numbers for equal inputs.
    """
    weights = weights / weights.sum()
    above, below = [], []
    for negatives, positives in (first, second):
        above.append(_share_below(negatives, positives))
        below.append(_share_above(positives, negatives, weights))
    of_positives, of_negatives = above[1] - above[0], below[1] - below[0]
    gain = float(weights @ of_positives)
    parts = (of_negatives - of_negatives.mean()) / len(of_negatives), weights * (of_positives - gain)
    spread = sum(_sum_of_squares(part, of) for part, of in zip(parts, contents, strict=True))
    return gain, spread**0.5


def _sum_of_squares(parts: Values, contents: Contents) -> float:
    """Return the sum over inputs of the squared sum of their copies' parts."""
    _, numbers = np.unique(contents, return_inverse=True)
    return float((np.bincount(numbers, parts) ** 2).sum())


def _share_below(values: Values, of: Values) -> Values:
    """Return for each number the share of the values below it; equal ones count half."""
    ordered = np.sort(values)
    both = np.searchsorted(ordered, of, "left") + np.searchsorted(ordered, of, "right")
    return np.asarray(both / (2 * len(values)))


def _share_above(values: Values, of: Values, weights: Values) -> Values:
    """Return for each number the weight of the values above it; equal ones count half."""
    order = np.argsort(values)
    ordered, until = values[order], np.concatenate([[0.0], np.cumsum(weights[order])])
    both = until[np.searchsorted(ordered, of, "left")] + until[np.searchsorted(ordered, of, "right")]
    return np.asarray(1 - both / 2)


def _with_mean(log_odds: Values, rate: float) -> Values:
    """Return log odds shifted so that the probabilities have the rate as their mean."""
    finite = log_odds.clip(-500, 500)
    if not 0 < rate < 1:
        return log_odds
    shift = brentq(lambda by: expit(finite + by).mean() - rate, -1500, 1500)
    return log_odds + float(shift)


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Standardised evidence against given and against corrupted labels: the judge's log odds, then statistics.

    Attributes:
        given: [N, d].
        corrupted: [m, d].
    """

    given: Values
    corrupted: Values

    @classmethod
    def of(cls, inputs: LabelReadings, corruption: Corruption, given: Values, corrupted: Values) -> _Evidence:
        """Collect the judge's log odds [N] and [m], and the statistics of gradients."""
        scaler = array_scaler().fit(np.concatenate([given, corrupted])[:, None])
        odds = scaler.transform(given[:, None]), scaler.transform(corrupted[:, None])
        statistics = _statistics(inputs, corruption)
        return cls(*(np.hstack(pair) for pair in zip(odds, statistics, strict=True)))

    def fit(self, train: NDArray[np.bool_], corruption: Corruption, seed: int, start: Mixture | None = None) -> Mixture:
        """Fit a mixture to the inputs of a mask [N]; of many, to a random part."""
        rows = np.flatnonzero(train)
        if len(rows) > _MOST_ROWS:
            rows = np.random.default_rng([seed, 3]).choice(rows, _MOST_ROWS, replace=False)
        seen = train[corruption.rows]
        return fit_mixture(self.given[rows], self.corrupted[seen], corruption.kinds[seen], rising=1, start=start)


def _statistics(inputs: LabelReadings, corruption: Corruption) -> tuple[Values, Values]:
    """Return components [N, k] and [m, k] of the statistics of gradients at the given and at the corrupted labels.

    k is 0 if no statistic varies.
    """
    assert inputs.given is not None
    assert inputs.at is not None
    features = LogFeatures.chosen(inputs.given)
    columns = features.axes.of(GRADIENT_FEATURES)
    both = (inputs.given, inputs.at(corruption.rows, corruption.labels))
    values = [features.block(readings).values[:, columns] for readings in both]
    if not len(columns):
        return values[0], values[1]
    rows = np.concatenate(values)
    components = PCA(min(_COMPONENTS, *rows.shape), whiten=True, random_state=0)
    reduction = make_pipeline(array_scaler(), components.set_output(transform="default")).fit(rows)
    vary = components.explained_variance_ratio_ > _NEGLIGIBLE
    given, corrupted = (_OF_STATISTICS * reduction.transform(part)[:, vary] for part in values)
    return given, corrupted
