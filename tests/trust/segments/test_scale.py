"""The logarithmic scale of features."""

import numpy as np
import pytest
from sklearn.base import clone

from gradmeter.trust.segments.features import SegmentFeature
from gradmeter.trust.segments.scale import LogScale

AXES = [
    SegmentFeature("softmax", "entropy", "", "mean_all"),
    SegmentFeature("gradients", "l2", "head", "mean_all"),
    SegmentFeature("class", "0"),
]


def test_norms_are_logarithmic_and_probabilities_are_kept() -> None:
    norms = 10.0 ** np.linspace(-60, 0, 200)
    X = np.stack([np.linspace(0.1, 1, 200), norms, np.zeros(200)], axis=1)
    scaled = LogScale.of(AXES).fit_transform(X)
    np.testing.assert_array_equal(scaled[:, 0], X[:, 0])
    np.testing.assert_array_equal(scaled[:, 1], 0)
    # Above its unit, the norm grows by log 10 with each power of ten.
    steps = np.diff(scaled[10:, 3])
    np.testing.assert_allclose(steps, np.log(10) * 60 / 199, rtol=1e-3)


def test_rounding_errors_of_both_signs_stay_small() -> None:
    noise = np.random.default_rng(0).normal(size=(500, 1)) * 1e-18
    noise[0] = 1e-40
    scaled = LogScale([0]).fit_transform(noise)
    assert np.abs(scaled).max() < 3
    np.testing.assert_allclose(LogScale([0]).fit(noise).transform(-noise), -scaled)


@pytest.mark.parametrize("values", [np.zeros((5, 1)), np.full((5, 1), 5e-324)])
def test_zeros_and_denormal_numbers(values: np.ndarray) -> None:
    scaled = LogScale([0]).fit_transform(values)
    assert np.isfinite(scaled).all()
    assert np.abs(scaled).max() < 1


def test_it_is_an_estimator() -> None:
    again = clone(LogScale.of(AXES))
    assert (again.wide, again.plain) == ([0, 1], [0, 2])
