"""Gradients count only where they help to find labels that were corrupted on purpose."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from gradmeter import GradientMeter
from gradmeter.trust.labels import LabelCheck, LabelScores, read_labels
from gradmeter.trust.labels.corruption import Corruption, corrupt
from gradmeter.trust.labels.gradient_evidence import _statistics, auroc_gain


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

    contents = np.arange(400, dtype=np.uint64), np.arange(150, dtype=np.uint64)
    value, deviation = auroc_gain(first, second, weights, contents)
    assert value == pytest.approx(gain(np.arange(400), np.arange(150)))
    resampled = [gain(random.integers(400, size=400), random.integers(150, size=150)) for _ in range(300)]
    assert deviation == pytest.approx(np.std(resampled), rel=0.2)
    # Copies add no evidence.
    copied = [tuple(np.repeat(part, 5) for part in parts) for parts in (first, second, contents)]
    assert auroc_gain(copied[0], copied[1], np.repeat(weights, 5), copied[2]) == pytest.approx((value, deviation))


class OnlyBiases(nn.Module):
    """Two logits, of which only the biases are learned: all gradients are alike but for their size."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([0.1, -0.1]))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs[:, :2] + self.bias


def statistics(network: nn.Module, inputs: Tensor, labels: Tensor, corruption: Corruption | None = None) -> np.ndarray:
    # Without contents, the folds and the corruption do not depend on the type of the inputs.
    readings = replace(read_labels(GradientMeter(network), inputs, labels, gradients=True), contents=None)
    return np.concatenate(_statistics(readings, corruption or corrupt(LabelScores(readings), 0)))


@pytest.mark.parametrize("classes", [2, 3])
def test_components_of_a_single_layer_are_no_rounding_errors(classes: int) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(200, 8)
    network = nn.Linear(8, classes)
    labels = network(inputs).argmax(1)
    scores = LabelScores(replace(read_labels(GradientMeter(network), inputs, labels), contents=None))
    corruption = corrupt(scores, 0)
    single = statistics(network, inputs, labels, corruption)
    double = statistics(deepcopy(network).double(), inputs.double(), labels, corruption)
    assert 0 < single.shape[1] < 7
    np.testing.assert_allclose(np.abs(single), np.abs(double), atol=1e-3)


def test_gradients_whose_statistics_do_not_vary_do_not_count() -> None:
    torch.manual_seed(0)
    inputs = 3 * torch.randn(300, 2)
    labels = inputs.argmax(1)
    labels[:20] = 1 - labels[:20]
    verdicts = LabelCheck(reads="gradients").fit_predict(read_labels(GradientMeter(OnlyBiases()), inputs, labels))
    forward = LabelCheck().fit_predict(read_labels(GradientMeter(OnlyBiases()), inputs, labels))
    assert verdicts.choice is not None
    assert verdicts.choice.reads == "forward"
    np.testing.assert_array_equal(verdicts.p_label, forward.p_label)
