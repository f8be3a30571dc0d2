import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from gradmeter.errors import InputError
from gradmeter.trust.evaluation import brier_score, expected_calibration_error, negative_log_likelihood, reliability

RANDOM = np.random.default_rng(0)
P = RANDOM.beta(3, 1, 5000)
CALIBRATED = RANDOM.random(5000) < P


def test_scores_are_those_of_scikit_learn():
    assert brier_score(P, CALIBRATED) == pytest.approx(brier_score_loss(CALIBRATED, P), rel=1e-12)
    assert negative_log_likelihood(P, CALIBRATED) == pytest.approx(log_loss(CALIBRATED, P), rel=1e-12)


def test_bins_are_those_of_scikit_learn():
    observed, predicted = calibration_curve(CALIBRATED, P, n_bins=10)
    diagram = reliability(P, CALIBRATED, 10)
    np.testing.assert_allclose(diagram.observed, observed)
    np.testing.assert_allclose(diagram.predicted, predicted)
    assert diagram.weight.sum() == pytest.approx(1)


def test_calibration_error():
    assert expected_calibration_error(P, CALIBRATED) < 0.03
    assert expected_calibration_error(np.ones(100), np.arange(100) < 70) == pytest.approx(0.3)
    # The calibration errors of the two bins are 0.1 and 0.2.
    p, y = np.repeat([0.1, 0.9], 10), np.repeat([False, True, False, True], [8, 2, 3, 7])
    assert expected_calibration_error(p, y, 2) == pytest.approx(0.15)


def test_certain_and_wrong():
    assert negative_log_likelihood([1.0, 0.5], np.array([False, True])) == np.inf
    assert negative_log_likelihood([1.0, 0.0], np.array([True, False])) == 0


@pytest.mark.parametrize(
    ("probability", "correct", "message"),
    [
        ([1.1], np.array([True]), r"probability.*\b1\.1\b"),
        ([0.5], np.array([1]), "correct.*int64"),
        ([0.5], np.array([True, False]), r"correct.*\(2,\)"),
        ([float("nan")], np.array([True]), r"probability.*\b1 of 1\b"),
    ],
)
def test_bad_input(probability, correct, message):
    with pytest.raises(InputError, match=message):
        brier_score(probability, correct)
    with pytest.raises(InputError, match=r"bins.*\b1\b"):
        reliability([0.5], np.array([True]), 0)
