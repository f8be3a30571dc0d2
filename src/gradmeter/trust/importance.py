"""Which layers a judgement rests on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradmeter.reading.readings import Readings
from gradmeter.stages import stage
from gradmeter.trust.evaluation.separation import separation
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.judge import Judge

_REPEATS = 5
# Judgements of single samples that all of it may take: a network of many layers makes do with fewer.
_JUDGEMENTS = 100_000


@dataclass(frozen=True)
class Importance:
    """How much worse a judgement becomes when what one layer says is mixed up between the samples.

    Attributes:
        layer: its name; "conv1 (output)" for what it puts out, "logits", "embedding", "entropy" and the like for
            features that are no gradient's.
        loss: mean fall of the AUROC.
        spread: standard deviation of the fall over repetitions.
    """

    layer: str
    loss: float
    spread: float


def layer_importance(judge: Judge, readings: Readings, correct: NDArray[np.bool_]) -> tuple[Importance, ...]:
    """Permutation importance (Breiman 2001) of each layer's features together, the most important layer first.

    Layers that tell the same cover for each other: a small loss does not mean that a layer says nothing.

    Args:
        judge: the meta classifier.
        readings: of N inputs, at best others than it learned from.
        correct: [N] whether the prediction was right.
    """
    block = judge.features.block(readings)
    correct = np.asarray(correct)
    layers = np.array([feature.origin for feature in block.axes.features])
    names = dict.fromkeys(layers.tolist())
    random = np.random.default_rng(0)
    repeats = int(np.clip(_JUDGEMENTS // (len(names) * len(block)), 1, _REPEATS))
    taken = _some_of_each(correct, max(20, _JUDGEMENTS // (len(names) * repeats)), random)
    block, correct = block.rows(taken), correct[taken]

    def auroc(features: FeatureBlock) -> float:
        p_correct = judge.classifier.judge(features).p_correct
        return separation(-p_correct[correct], -p_correct[~correct]).auroc

    whole, importances = auroc(block), []
    with stage("importance of layers", len(names)) as advance:
        for layer in names:
            losses = []
            for _ in range(repeats):
                mixed = block.values.copy()
                columns = layers == layer
                mixed[:, columns] = block.values[random.permutation(len(block))][:, columns]
                losses.append(whole - auroc(FeatureBlock(mixed, block.axes)))
            importances.append(Importance(layer, float(np.mean(losses)), float(np.std(losses))))
            advance(1)
    return tuple(sorted(importances, key=lambda importance: -importance.loss))


def _some_of_each(correct: NDArray[np.bool_], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Rows of at most about `count` samples, right and wrong ones in their shares but no kind left out."""
    if len(correct) <= count:
        return np.arange(len(correct))
    chosen = []
    for kind in (True, False):
        rows = np.flatnonzero(correct == kind)
        few = max(min(len(rows), 10), round(count * len(rows) / len(correct)))
        chosen.append(random.permutation(rows)[:few])
    found: NDArray[np.int64] = np.concatenate(chosen)
    return found
