"""Confidence scores, against their formulas written out."""

import numpy as np
import pytest
from scipy.special import softmax

from gradmeter.trust.confidence import (
    KnownFeatures,
    NormalisedLogit,
    SecondLook,
    Softmax,
    class_log_odds,
    softmax_log_odds,
)


def features(count: int = 50, classes: int = 4, seed: int = 0) -> KnownFeatures:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (count, classes))
    return KnownFeatures(logits, np.log1p(-softmax(logits, axis=1).max(axis=1)), {}, random.normal(size=count))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_softmax_with_a_temperature(temperature: float) -> None:
    X = features()
    p = softmax(X.logits / temperature, axis=1).max(axis=1)
    np.testing.assert_allclose(Softmax(temperature)(X), np.log((1 - p) / p), rtol=1e-9)


@pytest.mark.parametrize("p", [1.0, 3.0, 4.0])
def test_the_p_norm_of_centred_logits(p: float) -> None:
    X = features()
    centred = X.logits - X.logits.mean(axis=1, keepdims=True)
    expected = -centred.max(axis=1) / np.linalg.norm(centred, ord=p, axis=1)
    np.testing.assert_allclose(NormalisedLogit(p)(X), expected, rtol=1e-12)


def test_extreme_and_equal_logits_stay_finite() -> None:
    X = KnownFeatures(np.array([[1e300, -1e300, 0.0], [2.0, 2.0, 2.0]]), np.array([-700.0, np.log(2 / 3)]), {})
    for score in (Softmax(2.0), NormalisedLogit(6.0)):
        assert np.isfinite(score(X)).all()


def test_a_second_look_counts_only_above_its_threshold() -> None:
    X = features()
    own = softmax_log_odds(X.log_scale)
    doubts = SecondLook(above=float(np.median(own)))(X)
    assert X.mirrored is not None
    doubtful = own > np.median(own)
    assert np.array_equal(doubts[doubtful], X.mirrored[doubtful])
    assert np.array_equal(doubts[~doubtful], own[~doubtful])


def test_log_odds_of_a_class_that_is_not_predicted() -> None:
    logits = np.array([[2.0, 0.0, -1.0]])
    p = softmax(logits, axis=1)[0, 1]
    np.testing.assert_allclose(class_log_odds(logits, np.array([1])), np.log((1 - p) / p))
