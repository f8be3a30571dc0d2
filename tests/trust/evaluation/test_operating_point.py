import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradmeter.errors import InputError
from gradmeter.trust.evaluation import fpr_at_tpr

scores = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)


@given(scores, scores, st.sampled_from([0.05, 0.5, 0.8, 0.95, 1.0]))
def test_both_conventions_against_trying_every_threshold(inside, outside, tpr):
    low, high = np.array(inside), np.array(outside)
    thresholds = np.unique(np.concatenate([low, high]))
    accepted = min((high <= t).mean() for t in thresholds if (low <= t).mean() >= tpr - 1e-9)
    rejected = min((low >= t).mean() for t in thresholds if (high >= t).mean() >= tpr - 1e-9)
    assert fpr_at_tpr(inside, outside, tpr) == pytest.approx(accepted)
    assert fpr_at_tpr(inside, outside, tpr, positive="outside") == pytest.approx(rejected)


def test_perfect_and_reversed():
    for positive in ("inside", "outside"):
        assert fpr_at_tpr([0.0, 1.0], [2.0, 3.0], positive=positive) == 0
        assert fpr_at_tpr([2.0, 3.0], [0.0, 1.0], positive=positive) == 1


def test_the_conventions_differ():
    inside, outside = np.arange(100.0), np.concatenate([np.zeros(50), np.full(50, 200.0)])
    assert fpr_at_tpr(inside, outside) == 0.5
    assert fpr_at_tpr(inside, outside, positive="outside") == 1


@pytest.mark.parametrize("tpr", [0, 1.01, -1, float("nan")])
def test_bad_rate(tpr):
    with pytest.raises(InputError, match="tpr"):
        fpr_at_tpr([0.0], [1.0], tpr)


def test_bad_convention():
    with pytest.raises(InputError, match="positive"):
        fpr_at_tpr([0.0], [1.0], positive="ood")
