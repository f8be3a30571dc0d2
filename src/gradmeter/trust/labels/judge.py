"""P(each given label is right) from the forward pass: a noise model of the network, the centres and the neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.labels.confident import contradicted_shares
from gradmeter.trust.labels.experts import centre_expert, classes_of, network_expert, vote_expert
from gradmeter.trust.labels.inputs import Labels, Values
from gradmeter.trust.labels.noise import NoiseModel, NoiseProblem, fit_noise, fit_with_one_error
from gradmeter.trust.labels.rate import is_told, raised_by, rate_interval
from gradmeter.trust.labels.scores import LabelScores

Expert = Callable[[LabelScores, Labels], Values]

# A model is fitted to at most this many labels, and so many that the experts have at most this many entries.
_MOST_ROWS, _MOST_ENTRIES = 30_000, 2**22
_LEAST_ROWS = 2000
_TILE = 4096
# How often the model is fitted anew with what it told: centres of the labels that were right so far, or the temperature
# of the network, by which it confuses classes.
_PASSES = 2
# The largest share that labels are judged with if the likeliest is smaller and the interval says nothing.
_UNTOLD = 0.1


@dataclass(frozen=True, eq=False)
class Judge:
    """A fitted noise model of N inputs that judges any label.

    Attributes:
        scores: the inputs; labels count in centres and votes by how likely they are right.
        experts: what the model weighs.
        model: the model.
        rate: share of wrong labels among the given ones, with a 95 % interval.
    """

    scores: LabelScores
    experts: tuple[Expert, ...]
    model: NoiseModel
    rate: Interval

    def log_odds(self, labels: Labels, rows: Labels | None = None) -> Values:
        """Return the log odds [n] that labels of some rows, by default of all, are wrong."""
        return _log_odds(self.model, self.experts, self.scores, labels, rows)


def judge_labels(scores: LabelScores, seed: int) -> Judge:
    """Fit a judge to the given labels.

    The share of wrong labels is estimated with one expert: the network, which did not learn these labels, or else the
    centres, because heads that are fitted to wrong labels predict them. Then all experts are weighed.

    A network that learned wrong labels moves their embeddings towards them, and the centres take some of these labels
    for ambiguous ones: their estimate is too low. Confident learning counts labels that the heads contradict, also
    where the heads are wrong: of few wrong labels, its estimate is too high. If it is larger, the mean of both counts.
    Wrong labels that the heads did not learn are among all those that they contradict, so the interval reaches to their
    share. Where the network is weak, centres take right labels for wrong ones, so the interval begins no higher than
    that of a model of the heads alone.

    The likeliest share may be 0 although many more wrong labels are nearly as likely, where a weak network contradicts
    right labels, too. So if the interval holds 0, labels are judged with the share that is likeliest if one more label
    was seen to be wrong: of a likelihood that falls with the share, this is the mean. Of a flat likelihood it would be
    the largest share; so if the interval says nothing, it is at most a tenth, or the likeliest share if that is larger.

    Args:
        scores: the inputs, whose labels all count as right ones.
        seed: of the draw of labels that the model is fitted to, if there are many.
    """
    inputs = scores.inputs
    rows = _fitted_rows(len(inputs), inputs.classes, seed)
    learned = inputs.probabilities is not None
    alone: tuple[Expert, ...] = (centre_expert,) if learned else (network_expert,)
    contents = inputs.contents
    copies = 1.0 if contents is None else _copies(contents[rows])
    distinct = len(inputs) if contents is None else len(inputs) / _copies(contents)
    problem, model = _by_network(scores, rows, copies)
    rate = explained = rate_interval(problem, model, distinct)
    if learned:
        scores, problem, model = _by_centres(scores, rows, copies)
        explained = rate_interval(problem, model, distinct)
        rate = raised_by(explained, rate.low, *contradicted_shares(inputs), distinct)
    scores = scores.trusting(expit(-_log_odds(model, alone, scores, inputs.labels)))
    experts = (network_expert, centre_expert, *((vote_expert,) if learned else ()))
    evidence = [expert(scores, rows) for expert in experts]
    most = explained.high if is_told(explained) else _UNTOLD
    like = model if explained.low > 0 else fit_with_one_error(problem, model, most)
    _, model = fit_noise(evidence, inputs.labels[rows], replace(model.classes, shares=None), copies=copies, like=like)
    return Judge(scores, experts, model, rate)


def _by_network(scores: LabelScores, rows: Labels, copies: float) -> tuple[NoiseProblem, NoiseModel]:
    """Fit to what the network, or the heads, say."""
    inputs, evidence = scores.inputs, [network_expert(scores, rows)]
    problem, model = fit_noise(evidence, inputs.labels[rows], classes_of(inputs), copies=copies)
    for _ in range(_PASSES):
        classes = classes_of(inputs, float(model.weights[0]))
        problem, model = fit_noise(evidence, inputs.labels[rows], classes, copies=copies)
    return problem, model


def _by_centres(scores: LabelScores, rows: Labels, copies: float) -> tuple[LabelScores, NoiseProblem, NoiseModel]:
    """Fit to what the centres say; also return the scores with centres of labels that are likely right."""
    labels = scores.inputs.labels

    def fit() -> tuple[NoiseProblem, NoiseModel]:
        # Unlike heads, centres do not know how frequent the classes are.
        classes = replace(classes_of(scores.inputs), shares=scores.shares)
        return fit_noise([centre_expert(scores, rows)], labels[rows], classes, copies=copies)

    problem, model = fit()
    for _ in range(_PASSES):
        scores = scores.trusting(expit(-_log_odds(model, (centre_expert,), scores, labels)))
        problem, model = fit()
    return scores, problem, model


def _copies(contents: NDArray[np.uint64]) -> float:
    """Return how many labels count as one if copies of an input add no evidence (Kish's design effect)."""
    _, counts = np.unique(contents, return_counts=True)
    return float((counts**2).sum() / counts.sum())


def _log_odds(
    model: NoiseModel,
    experts: Sequence[Expert],
    scores: LabelScores,
    labels: Labels,
    rows: Labels | None = None,
) -> Values:
    rows = np.arange(len(scores.inputs)) if rows is None else rows
    odds = np.empty(len(rows))
    for start in range(0, len(rows), _TILE):
        tile = rows[start : start + _TILE]
        evidence = [expert(scores, tile) for expert in experts]
        odds[start : start + _TILE] = model.log_odds(evidence, labels[start : start + _TILE])
    return odds


def _fitted_rows(count: int, classes: int, seed: int) -> Labels:
    most = min(_MOST_ROWS, max(_LEAST_ROWS, _MOST_ENTRIES // classes))
    if count <= most:
        return np.arange(count)
    rows: Labels = np.sort(np.random.default_rng([seed, 3]).choice(count, most, replace=False)).astype(np.int64)
    return rows
