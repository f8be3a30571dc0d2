import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.special import logsumexp, softmax
from scipy.stats import entropy as shannon

from gradmeter.errors import InputError
from gradmeter.reading.scores import energy, entropy, margin, max_softmax

logits_arrays = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6), elements=st.floats(-50, 50)
)


@given(logits_arrays)
def test_scores_are_those_of_scipy(logits):
    probabilities = softmax(logits, axis=1)
    ranked = np.sort(probabilities, axis=1)
    np.testing.assert_allclose(entropy(logits), shannon(probabilities, axis=1, base=logits.shape[1]), atol=1e-13)
    np.testing.assert_allclose(max_softmax(logits), ranked[:, -1], rtol=1e-13)
    np.testing.assert_allclose(margin(logits), ranked[:, -1] - ranked[:, -2], atol=1e-13)
    np.testing.assert_allclose(energy(logits), -logsumexp(logits, axis=1), rtol=1e-13, atol=1e-13)


@given(logits_arrays, st.floats(-100, 100))
def test_a_common_shift_moves_only_the_energy(logits, shift):
    for score in (entropy, max_softmax, margin):
        np.testing.assert_allclose(score(logits + shift), score(logits), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(energy(logits + shift), energy(logits) - shift, atol=1e-10)


def test_equal_logits_are_the_most_uncertain():
    logits = np.zeros((1, 10))
    assert entropy(logits)[0] == 1.0
    assert max_softmax(logits)[0] == pytest.approx(0.1)
    assert margin(logits)[0] == 0.0
    assert energy(logits)[0] == pytest.approx(-math.log(10))


def test_entropy_never_rounds_above_one():
    nearly_equal = np.random.default_rng(5).normal(scale=1e-12, size=(1_000, 5))
    assert entropy(nearly_equal).max() == 1.0


def test_confident_predictions_keep_their_entropy():
    # Two classes at distance d: the entropy is e^-d (1 + d) nats up to order e^-2d, far below the resolution of 1 - p.
    distance = np.array([50.0, 100.0, 600.0])
    logits = np.stack([distance, np.zeros(3)], axis=1)
    np.testing.assert_allclose(entropy(logits), np.exp(-distance) * (1 + distance) / math.log(2), rtol=1e-12)


def test_a_close_second_keeps_its_margin():
    logits = np.array([[0.0, -1e-14]])
    assert margin(logits)[0] == pytest.approx(0.5e-14, rel=1e-9, abs=0)


@pytest.mark.parametrize("size", [1e4, 1.7e308])
def test_vanished_probabilities_add_nothing(size):
    logits = np.array([[size, -size, -size]])
    assert entropy(logits)[0] == 0.0
    assert max_softmax(logits)[0] == 1.0
    assert margin(logits)[0] == 1.0
    assert energy(logits)[0] == -size


def test_float32_tensors_are_taken_in_double_precision():
    logits = torch.tensor([[1.0, 2.0, 4.0], [0.5, 0.5, -3.0]])
    for score in (entropy, max_softmax, margin, energy):
        assert score(logits).dtype == np.float64
        np.testing.assert_array_equal(score(logits), score(logits.double().numpy()))


def test_no_rows_give_no_scores():
    assert entropy(np.empty((0, 10))).shape == (0,)


@pytest.mark.parametrize("score", [entropy, max_softmax, margin, energy])
@pytest.mark.parametrize(
    ("logits", "complaint"),
    [
        (np.zeros(10), r"\(10,\)"),
        (np.zeros((5, 1)), r"\(5, 1\)"),
        (np.array([[0.0, 1.0], [np.nan, 0.0], [np.inf, 0.0]]), "2 of 3 rows"),
        ([["a", "b"]], " list;"),
    ],
)
def test_bad_logits_are_refused(score, logits, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        score(logits)
    assert "\n" not in str(caught.value)
