"""Importance of each layer for P(correct)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradmeter.errors import InputError
from gradmeter.stages import stage
from gradmeter.trust.evaluation.separation import separation
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.judge import Judge

_REPEATS = 5
# Limit on the number of judged samples over all permutations: networks with many layers get fewer samples or repeats.
_JUDGEMENTS = 100_000


@dataclass(frozen=True)
class Importance:
    """The loss of AUROC when the features of one layer are permuted between samples.

    Attributes:
        layer: name of the layer, or `Feature.origin` of features that are no gradient's.
        loss: mean loss of AUROC over the permutations.
        spread: standard deviation of the loss over the permutations.
    """

    layer: str
    loss: float
    spread: float


def layer_importance(judge: Judge, block: FeatureBlock, correct: NDArray[np.bool_]) -> tuple[Importance, ...]:
    """Return the permutation importance (Breiman 2001) of each layer's features, the most important layer first.

    A small loss does not mean that a layer is uninformative: other layers may carry the same information.

    Args:
        judge: the fitted meta classifier.
        block: the features of N inputs, preferably ones that it was not fitted to.
        correct: [N] whether the prediction was right.

    Raises:
        InputError: if `correct` is something else, or all are right or all wrong.
    """
    correct = np.asarray(correct)
    if correct.dtype != np.bool_ or correct.shape != (len(block),):
        raise InputError(f"correct has type {correct.dtype} and shape {correct.shape}; expected bool, ({len(block)},)")
    if correct.all() or not correct.any():
        raise InputError(
            f"{np.count_nonzero(correct):,} of {len(correct):,} predictions are right; expected right and wrong ones"
        )
    layers = np.array([feature.origin for feature in block.axes.features])
    names = dict.fromkeys(layers.tolist())
    random = np.random.default_rng(0)
    repeats = int(np.clip(_JUDGEMENTS // (len(names) * len(block)), 1, _REPEATS))
    rows = _stratified_rows(correct, max(20, _JUDGEMENTS // (len(names) * repeats)), random)
    block, correct = block.rows(rows), correct[rows]

    def auroc(features: FeatureBlock) -> float:
        p_correct = judge.classifier.judge(features).p_correct
        return separation(-p_correct[correct], -p_correct[~correct]).auroc

    baseline, importances = auroc(block), []
    with stage("importance of layers", len(names)) as advance:
        for layer in names:
            losses = []
            for _ in range(repeats):
                permuted = block.values.copy()
                columns = layers == layer
                permuted[:, columns] = block.values[random.permutation(len(block))][:, columns]
                losses.append(baseline - auroc(FeatureBlock(permuted, block.axes)))
            importances.append(Importance(layer, float(np.mean(losses)), float(np.std(losses))))
            advance(1)
    return tuple(sorted(importances, key=lambda importance: -importance.loss))


def _stratified_rows(correct: NDArray[np.bool_], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return about `count` rows, with right and wrong predictions in proportion, but at least ten of each."""
    if len(correct) <= count:
        return np.arange(len(correct))
    parts = []
    for is_correct in (True, False):
        rows = np.flatnonzero(correct == is_correct)
        size = max(min(len(rows), 10), round(count * len(rows) / len(correct)))
        parts.append(random.permutation(rows)[:size])
    selected: NDArray[np.int64] = np.concatenate(parts)
    return selected
