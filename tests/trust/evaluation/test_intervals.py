import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.intervals import MeanSem, mean_sem, paired_difference, two_sample

percents = st.lists(st.integers(0, 10_000).map(lambda hundredths: hundredths / 100), min_size=2, max_size=12)


@given(percents)
def test_mean_sem_is_that_of_scipy(values):
    result = mean_sem(values)
    assert result.mean == pytest.approx(np.mean(values))
    assert result.sem == pytest.approx(stats.sem(values), abs=1e-12)
    assert result.n == len(values)


def test_mean_sem_by_hand():
    assert mean_sem([96.0, 98.0]) == MeanSem(mean=97.0, sem=pytest.approx(1.0), n=2)


def test_one_run_has_no_standard_error():
    result = mean_sem([97.5])
    assert (result.mean, result.n) == (97.5, 1)
    assert math.isnan(result.sem)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_paired_interval_is_that_of_the_paired_t_test(confidence):
    generator = np.random.default_rng(2)
    a, b = generator.normal(97, 1, size=10), generator.normal(96, 1, size=10)
    expected = stats.ttest_rel(a, b).confidence_interval(confidence)
    result = paired_difference(a, b, confidence)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))
    assert result.mean == pytest.approx(np.mean(a) - np.mean(b))
    assert result.n == 10


def test_default_confidence_is_95_percent():
    a, b = [1.0, 2.0, 4.0], [0.0, 0.0, 0.0]
    assert paired_difference(a, b) == paired_difference(a, b, 0.95)


def test_equal_differences_leave_an_interval_without_width():
    result = paired_difference([3.0, 4.0, 5.0], [1.0, 2.0, 3.0])
    assert (result.low, result.mean, result.high) == (2.0, 2.0, 2.0)


def test_one_pair_has_no_interval():
    result = paired_difference([3.0], [1.0])
    assert (result.mean, result.n) == (2.0, 1)
    assert math.isnan(result.low)
    assert math.isnan(result.high)


def test_unpaired_runs_are_refused():
    with pytest.raises(InputError, match=r"\b2\b.*\b3\b"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_an_impossible_confidence_is_refused(confidence):
    with pytest.raises(InputError, match="confidence"):
        paired_difference([1.0, 2.0], [1.0, 2.0], confidence)


def test_small_samples_have_the_exact_p_value():
    # Of the 20 ways to place three values among six, two separate the samples completely.
    result = two_sample([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert (result.statistic, result.p_value) == pytest.approx((1.0, 2 / 20))


@pytest.mark.parametrize(("n", "m"), [(1_000, 100), (1_000, 101)], ids=["exact", "asymptotic"])
def test_exact_and_asymptotic_p_values_agree_at_the_limit(n, m):
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=n), generator.normal(0.3, size=m)
    expected = stats.ks_2samp(a, b, method="exact")
    result = two_sample(a, b)
    assert result.statistic == pytest.approx(expected.statistic)
    assert result.p_value == pytest.approx(expected.pvalue, rel=0.2)


def test_large_samples_that_differ_and_that_do_not():
    generator = np.random.default_rng(4)
    correct, wrong = generator.normal(size=50_000), generator.normal(size=800)
    assert two_sample(correct, wrong).p_value > 0.01
    apart = two_sample(correct, wrong + 50)
    assert (apart.statistic, apart.p_value) == (1.0, 0.0)


@pytest.mark.parametrize("evaluate", [mean_sem, lambda values: two_sample([1.0], values)])
@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_samples_without_numbers_are_refused(evaluate, values):
    with pytest.raises(InputError, match=r"\b(values|b)\b"):
        evaluate(values)
