import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradmeter.errors import InputError
from gradmeter.trust.evaluation import (
    area_under_generalised_risk_coverage,
    area_under_risk_coverage,
    excess_area_under_risk_coverage,
    risk_at_coverage,
    separation,
)

graded = st.lists(st.tuples(st.integers(0, 5).map(float), st.booleans()), min_size=1, max_size=15)


def parts(graded):
    uncertainty, wrong = zip(*graded, strict=True)
    return np.array(uncertainty), np.array(wrong, bool)


@given(graded)
def test_excess_is_the_difference_to_the_perfect_order(graded):
    uncertainty, wrong = parts(graded)
    # The perfect order: all errors after all correct predictions, without ties.
    best = area_under_risk_coverage(np.arange(wrong.size, dtype=float), np.sort(wrong))
    excess = excess_area_under_risk_coverage(uncertainty, wrong)
    assert excess == pytest.approx(area_under_risk_coverage(uncertainty, wrong) - best, abs=1e-12)


@given(graded)
def test_generalised_risk_follows_from_auroc_and_accuracy(graded):
    """Traub et al. 2024, Eq. 6, with ties counted half."""
    uncertainty, wrong = parts(graded)
    rate = wrong.mean()
    auroc = separation(uncertainty[~wrong], uncertainty[wrong]).auroc if 0 < rate < 1 else 0.5
    expected = (1 - auroc) * rate * (1 - rate) + rate**2 / 2
    assert area_under_generalised_risk_coverage(uncertainty, wrong) == pytest.approx(expected, abs=1e-12)


def test_risk_at_coverage():
    uncertainty = np.arange(10.0)
    wrong = np.array([0, 0, 1, 0, 0, 0, 0, 1, 1, 1], bool)
    for coverage, expected in ((0.1, 0), (0.3, 1 / 3), (0.31, 1 / 4), (0.7, 1 / 7), (1.0, 0.4), (1e-9, 0)):
        assert risk_at_coverage(uncertainty, wrong, coverage) == pytest.approx(expected)


def test_equal_uncertainties_are_accepted_together():
    assert risk_at_coverage([0.0, 0.0, 1.0], np.array([True, False, False]), 0.1) == 0.5


@pytest.mark.parametrize("coverage", [0, -0.1, 1.1, float("nan")])
def test_bad_coverage(coverage):
    with pytest.raises(InputError, match="coverage"):
        risk_at_coverage([0.0], np.array([True]), coverage)
