"""Probabilities and dispersions of the softmax, compared with mpmath's digits where they nearly vanish."""

import mpmath
import numpy as np
import pytest
from scipy import special

from gradmeter.trust.segments.dispersions import softmax_maps


def test_they_are_those_of_the_softmax() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (5, 40))
    probabilities, maps = softmax_maps(logits)
    expected = special.softmax(logits, axis=0)
    ordered = np.sort(expected, axis=0)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-12)
    np.testing.assert_allclose(maps["entropy"], special.entr(expected).sum(0) / np.log(5), rtol=1e-11)
    np.testing.assert_allclose(maps["margin"], 1 - ordered[-1] + ordered[-2], rtol=1e-11)
    np.testing.assert_allclose(maps["variation_ratio"], 1 - ordered[-1], rtol=1e-11)


def test_confident_pixels_keep_their_digits() -> None:
    _, maps = softmax_maps(np.array([[100.0], [0.0], [-1.0]]))
    with mpmath.workdps(80):
        weights = [mpmath.exp(logit) for logit in (100, 0, -1)]
        shares = [weight / sum(weights) for weight in weights]
        entropy = -sum(share * mpmath.log(share) for share in shares) / mpmath.log(3)
        expected = {"entropy": entropy, "margin": 1 - shares[0] + shares[1], "variation_ratio": 1 - shares[0]}
    for name, value in expected.items():
        assert maps[name][0] == pytest.approx(float(value), rel=1e-12)


def test_equal_logits() -> None:
    probabilities, maps = softmax_maps(np.zeros((4, 1)))
    assert probabilities[:, 0].tolist() == [0.25] * 4
    assert [maps[name][0] for name in ("entropy", "margin", "variation_ratio")] == pytest.approx([1, 1, 0.75])


def test_distances_beyond_the_exponential() -> None:
    probabilities, maps = softmax_maps(np.array([[1e5], [0.0]]))
    assert probabilities[:, 0].tolist() == [1, 0]
    assert all(values[0] == 0 for values in maps.values())
