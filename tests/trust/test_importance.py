from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gradmeter import InputError, Readings
from gradmeter.reading.statistics import METRICS
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.importance import Importance, layer_importance
from gradmeter.trust.judge import Judge
from gradmeter.trust.log_features import LogFeatures
from gradmeter.trust.meta_classifier import Judgement
from trust.named_features import axes

LAYERS = ("conv.1", "conv.2", "dense", "all")
TELLING = ("conv.2", "l2")


@pytest.fixture(scope="module")
def readings() -> Readings:
    """Random readings of 600 inputs."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(600, *shape, generator=generator, dtype=torch.float64)

    values = noise(len(LAYERS), len(METRICS)).exp()
    return Readings(noise(4), torch.zeros(600, dtype=torch.float64), LAYERS, values)


@pytest.fixture(scope="module")
def correct(readings: Readings) -> np.ndarray:
    """Correctness that depends on one statistic of one layer."""
    return (readings[TELLING] < 1.5).numpy()


class Reader:
    """A meta classifier that uses a single feature."""

    def __init__(self, column: int) -> None:
        self.column = column

    def judge(self, block: FeatureBlock) -> Judgement:
        return judgement(block.values[:, self.column])


def judgement(score: np.ndarray) -> Judgement:
    return Judgement(1 / (1 + np.exp(score)), np.ones(len(score), np.bool_))


def importance(judge: Judge, readings: Readings, correct: np.ndarray) -> tuple[Importance, ...]:
    return layer_importance(judge, judge.features.block(readings), correct)


def reader(readings: Readings, feature: str) -> Judge:
    features = LogFeatures.chosen(readings)
    classifier: Any = Reader([*map(str, features.axes.features)].index(feature))
    return Judge(features, classifier, 0, 0, 0, judgement(np.empty(0)))


def test_the_only_informative_layer_comes_first(readings: Readings, correct: np.ndarray) -> None:
    predictions = readings.predictions
    labels = torch.where(torch.from_numpy(correct), predictions, (predictions + 1) % 4)
    judge = Judge.fit(readings, labels, classifier="ridge")
    first, *others = importance(judge, readings, correct)
    assert first.layer == "conv.2"
    assert first.loss > 0.4
    assert 0 < first.spread < 0.05
    names = [one.layer for one in others]
    assert {"entropy", "conv.1", "dense"} <= {*names}
    assert len({"conv.2", *names}) == 1 + len(names)
    assert max(abs(one.loss) for one in others) < 0.02
    losses = [one.loss for one in (first, *others)]
    assert losses == sorted(losses, reverse=True)


def test_unused_layers_have_no_loss(readings: Readings, correct: np.ndarray) -> None:
    importances = importance(reader(readings, "conv.2/l2"), readings, correct)
    assert importances[0].layer == "conv.2"
    # The AUROC falls from 1 to about 0.5.
    assert importances[0].loss == pytest.approx(0.5, abs=0.05)
    assert len(importances) == 6
    assert {(one.loss, one.spread) for one in importances[1:]} == {(0, 0)}


def test_a_layer_that_misleads_has_a_negative_loss_and_comes_last(readings: Readings, correct: np.ndarray) -> None:
    importances = importance(reader(readings, "conv.2/l2"), readings, ~correct)
    assert importances[-1].layer == "conv.2"
    assert importances[-1].loss == pytest.approx(-0.5, abs=0.05)


def test_statistics_of_a_layer_are_permuted_together(readings: Readings, correct: np.ndarray) -> None:
    """A permutation keeps the differences between the statistics of a layer."""

    class Difference:
        def judge(self, block: FeatureBlock) -> Judgement:
            seen.append(block.values[:, 2] - block.values[:, 1])
            return judgement(seen[-1])

    seen: list[np.ndarray] = []
    features = LogFeatures(axes("entropy", "conv.2/l1", "conv.2/l2", "dense/l1"))
    classifier: Any = Difference()
    judge = replace(reader(readings, "conv.2/l2"), features=features, classifier=classifier)
    importance(judge, readings, correct)
    assert len(seen) == 1 + 3 * 5
    assert not all(np.array_equal(one, seen[0]) for one in seen)
    for one in seen:
        np.testing.assert_array_equal(np.sort(one), np.sort(seen[0]))


def test_entropy_has_its_own_importance(readings: Readings) -> None:
    judge = reader(readings, "entropy")
    scores = judge.features.block(readings).values[:, 0]
    importances = importance(judge, readings, scores < np.median(scores))
    assert importances[0].layer == "entropy"
    assert importances[0].loss == pytest.approx(0.5, abs=0.05)


def test_the_same_again(readings: Readings, correct: np.ndarray) -> None:
    judge = reader(readings, "conv.2/l2")
    assert importance(judge, readings, correct) == importance(judge, readings, correct)


def test_no_wrong_predictions(readings: Readings) -> None:
    with pytest.raises(InputError, match="600 of 600 predictions are right"):
        importance(reader(readings, "entropy"), readings, np.ones(600, np.bool_))


@pytest.mark.parametrize("change", [lambda correct: correct.astype(int), lambda correct: correct[:100]])
def test_correctness_of_another_kind(change: Any, readings: Readings, correct: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"expected bool, \(600,\)"):
        importance(reader(readings, "entropy"), readings, change(correct))
