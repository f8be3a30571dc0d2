import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from scipy.stats import entropy
from torch import nn

from gradmeter import PixelMeter
from gradmeter.reading.pixels.scores import (
    CONFIDENCES,
    ENERGY,
    ENTROPY,
    MAX_LOGIT,
    SOFTMAX,
    confidence_scores,
    gradient_scores,
    score_name,
)
from oracles.networks import randomise


def test_the_scores_of_logits() -> None:
    logits = 4 * torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    scores = confidence_scores(logits)
    assert {*scores} == {*CONFIDENCES}
    values = logits.double().numpy()
    probabilities = softmax(values, axis=1)
    expected = {
        SOFTMAX: np.log(1 - probabilities.max(axis=1)),
        ENTROPY: entropy(probabilities, axis=1) / np.log(5),
        MAX_LOGIT: -values.max(axis=1),
        ENERGY: -logsumexp(values, axis=1),
    }
    for name, score in scores.items():
        assert score.shape == (2, 3, 4)
        np.testing.assert_allclose(score.numpy(), expected[name], rtol=1e-9)


def test_a_sure_prediction_does_not_round() -> None:
    scores = confidence_scores(torch.tensor([90.0, 0.0]).view(1, 2, 1, 1))
    assert scores[SOFTMAX].item() == pytest.approx(-90)


def test_one_channel_is_the_logit_of_the_second_class() -> None:
    scores = confidence_scores(torch.tensor([[-2.0, 3.0]]).view(1, 1, 1, 2))
    both = confidence_scores(torch.tensor([[0.0, 0.0], [-2.0, 3.0]]).view(1, 2, 1, 2))
    for name, values in scores.items():
        torch.testing.assert_close(values, both[name])


def test_a_high_score_of_gradients_means_doubt() -> None:
    network = randomise(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)), 0)
    images = torch.rand(2, 3, 6, 7, generator=torch.Generator().manual_seed(1))
    readings = PixelMeter(network, ["2", "0"], ["predicted", "uniform"])(images)
    scores = gradient_scores(readings)
    assert len(scores) == 2 * 2 * 8
    uniform = readings.for_pseudo_label("uniform")
    torch.testing.assert_close(scores[score_name("l2", "predicted", "2")], readings["2", "l2"])
    torch.testing.assert_close(scores[score_name("min", "predicted", "2")], -readings["2", "min"])
    torch.testing.assert_close(scores[score_name("l2", "uniform", "0")], -uniform["0", "l2"])
    torch.testing.assert_close(scores[score_name("min", "uniform", "0")], uniform["0", "min"])
    assert all(torch.isfinite(score).all() for score in scores.values())
