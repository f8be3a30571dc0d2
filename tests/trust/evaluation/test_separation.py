import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.separation import Separation, aupr_out_at_base_rate, separation

# Few distinct values make many ties; small samples test the ends of the curves.
tied = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)
spread = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12)
samples = st.one_of(st.tuples(tied, tied), st.tuples(spread, spread))


def labelled(inside, outside):
    return np.repeat([0, 1], [len(inside), len(outside)]), np.concatenate([inside, outside])


@given(samples)
def test_step_measures_are_those_of_scikit_learn(pair):
    is_outside, score = labelled(*pair)
    measured = separation(*pair)
    assert measured.auroc == pytest.approx(roc_auc_score(is_outside, score), abs=1e-12)
    assert measured.aupr_in == pytest.approx(average_precision_score(1 - is_outside, -score), abs=1e-12)
    assert measured.aupr_out == pytest.approx(average_precision_score(is_outside, score), abs=1e-12)


@given(samples)
def test_trapezoid_measures_are_those_of_scikit_learn(pair):
    is_outside, score = labelled(*pair)
    precision, recall, _ = precision_recall_curve(is_outside, score)
    precision_in, recall_in, _ = precision_recall_curve(1 - is_outside, -score)
    measured = separation(*pair, aupr="trapezoid")
    assert measured.aupr_out == pytest.approx(auc(recall, precision), abs=1e-12)
    assert measured.aupr_in == pytest.approx(auc(recall_in, precision_in), abs=1e-12)
    assert measured.auroc == separation(*pair).auroc


@given(samples, st.floats(0.001, 0.999))
def test_base_rate_is_that_of_weighted_samples(pair, base_rate):
    inside, outside = pair
    is_outside, score = labelled(inside, outside)
    weights = np.where(is_outside, base_rate / len(outside), (1 - base_rate) / len(inside))
    expected = average_precision_score(is_outside, score, sample_weight=weights)
    assert aupr_out_at_base_rate(inside, outside, base_rate) == pytest.approx(expected, abs=1e-12)


@given(samples)
def test_own_base_rate_changes_nothing(pair):
    inside, outside = pair
    share = len(outside) / (len(inside) + len(outside))
    assert aupr_out_at_base_rate(inside, outside, share) == pytest.approx(separation(inside, outside).aupr_out)


def test_large_samples_with_ties():
    generator = np.random.default_rng(0)
    inside = generator.normal(size=30_000).astype(np.float32).round(2)
    outside = generator.normal(1.0, 2.0, size=700).astype(np.float32).round(2)
    is_outside, score = labelled(inside, outside)
    measured = separation(inside, outside)
    assert measured.auroc == pytest.approx(mannwhitneyu(outside, inside).statistic / (30_000 * 700), abs=1e-12)
    assert measured.aupr_in == pytest.approx(average_precision_score(1 - is_outside, -score), abs=1e-12)
    assert measured.aupr_out == pytest.approx(average_precision_score(is_outside, score), abs=1e-12)


def test_values_by_hand():
    # Falling scores: out 4, then in 3, out 2, in 1.
    measured = separation([1.0, 3.0], [2.0, 4.0])
    assert measured == Separation(
        auroc=pytest.approx(0.75),
        aupr_in=pytest.approx((1 + 2 / 3) / 2),
        aupr_out=pytest.approx((1 + 2 / 3) / 2),
    )
    assert separation([0.0, 1.0], [2.0]) == Separation(1.0, 1.0, 1.0)
    assert separation([5.0, 5.0, 5.0], [5.0]) == Separation(0.5, 0.75, 0.25)


def test_scores_that_differ_by_the_last_bit_are_no_tie():
    assert separation([1.0], [np.nextafter(1.0, 2.0)]).auroc == 1.0


@pytest.mark.parametrize("empty", ["inside", "outside"])
def test_an_empty_sample_is_named(empty):
    pair = {"inside": [0.1], "outside": [0.2], empty: []}
    with pytest.raises(InputError, match=empty):
        separation(**pair)
    with pytest.raises(InputError, match=empty):
        aupr_out_at_base_rate(**pair, base_rate=0.5)


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(InputError, match=r"aupr.*'linear'"):
        separation([0.1], [0.2], aupr="linear")


@pytest.mark.parametrize("base_rate", [0.0, 1.0, -0.1, float("nan"), 9.2])
def test_a_base_rate_outside_the_open_interval_is_refused(base_rate):
    with pytest.raises(InputError, match="base_rate"):
        aupr_out_at_base_rate([0.1], [0.2], base_rate)
