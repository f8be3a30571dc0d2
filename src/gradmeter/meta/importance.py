"""Which layers a judgement rests on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradmeter.evaluation.separation import separation
from gradmeter.meta.judge import Judge
from gradmeter.meta.log_features import source_of
from gradmeter.readings import Readings

_REPEATS = 5


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
    matrix = judge.features.matrix(readings)
    layers = np.array([source_of(name) for name in judge.features.names])
    random = np.random.default_rng(0)

    def auroc(features: NDArray[np.float64]) -> float:
        p_correct = judge.estimator.predict_proba(features)[:, 1]
        return separation(-p_correct[correct], -p_correct[~correct]).auroc

    whole, found = auroc(matrix), []
    for layer in dict.fromkeys(layers.tolist()):
        losses = []
        for _ in range(_REPEATS):
            mixed = matrix.copy()
            columns = layers == layer
            mixed[:, columns] = matrix[random.permutation(len(matrix))][:, columns]
            losses.append(whole - auroc(mixed))
        found.append(Importance(layer, float(np.mean(losses)), float(np.std(losses))))
    return tuple(sorted(found, key=lambda one: -one.loss))
