"""Gradients count only where they help to find labels that were corrupted on purpose."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gradmeter.trust.labels.gradient_evidence import auroc_gain


def test_the_gain_and_its_deviation_are_those_of_a_bootstrap() -> None:
    random = np.random.default_rng(0)

    def scores(mean: float, count: int) -> tuple[np.ndarray, np.ndarray]:
        shared = random.normal(size=count) + mean
        return np.round(shared + random.normal(size=count), 1), np.round(shared + 0.5 * random.normal(size=count), 1)

    negatives, positives, weights = scores(0, 400), scores(1, 150), random.random(150)
    first, second = ((negatives[which], positives[which]) for which in (0, 1))

    def gain(rows: np.ndarray, others: np.ndarray) -> float:
        truth = np.repeat([0, 1], [len(rows), len(others)])
        weight = np.concatenate([np.ones(len(rows)), weights[others]])
        areas = [
            roc_auc_score(truth, np.concatenate([negative[rows], positive[others]]), sample_weight=weight)
            for negative, positive in (first, second)
        ]
        return float(areas[1] - areas[0])

    value, deviation = auroc_gain(first, second, weights)
    assert value == pytest.approx(gain(np.arange(400), np.arange(150)))
    resampled = [gain(random.integers(400, size=400), random.integers(150, size=150)) for _ in range(300)]
    assert deviation == pytest.approx(np.std(resampled), rel=0.2)
