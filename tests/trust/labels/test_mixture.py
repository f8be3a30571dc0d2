"""The mixture finds its parameters in data that are drawn from it."""

import numpy as np
import pytest
from scipy.optimize import check_grad

from gradmeter.trust.labels.mixture import Problem, fit_mixture


def drawn(rate: float, count: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Evidence against given labels, against corrupted ones, their kinds, and the exact log odds of being wrong."""
    random = np.random.default_rng(seed)
    wrong = random.random(count) < rate
    given = random.normal(size=(count, 2)) + np.where(wrong, 3.0, 0.0)[:, None] * [1, 0]
    corrupted = random.normal(size=(count, 2)) + np.array([3.0, 0])
    odds = 3 * given[:, 0] - 4.5 + np.log(rate / (1 - rate))
    return given, corrupted, np.zeros(count, np.int64), odds


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
def test_the_rate_and_the_odds(rate: float) -> None:
    given, corrupted, kinds, odds = drawn(rate)
    mixture = fit_mixture(given, corrupted, kinds)
    assert mixture.rate == pytest.approx(rate, rel=0.3)
    assert np.abs(mixture.log_odds(given) - odds).mean() < 0.5


def test_no_wrong_labels() -> None:
    random = np.random.default_rng(0)
    given, corrupted = random.normal(size=(2000, 2)), random.normal(size=(2000, 2)) + np.array([4, 0])
    kinds = np.zeros(2000, np.int64)
    mixture = fit_mixture(given, corrupted, kinds)
    assert mixture.rate < 0.003


@pytest.mark.parametrize("left", [1, 2])
def test_a_fold_without_corrupted_labels_of_some_kinds(left: int) -> None:
    """Of few labels, all of a kind may lie in one fold; the search still starts from a mixture of all kinds."""
    given, corrupted, _, _ = drawn(0.1, 60)
    whole = fit_mixture(given, corrupted, np.arange(60) % 3)
    part = fit_mixture(given, corrupted[:20], np.arange(20) % left, start=whole)
    assert part.weights.shape == whole.weights.shape
    assert np.isfinite(part.log_odds(given)).all()


def test_the_gradient_of_the_likelihood() -> None:
    random = np.random.default_rng(0)
    problem = Problem.of(random.normal(size=(30, 3)), random.normal(size=(20, 3)), np.arange(20) % 3, 3)
    point = random.normal(size=3 * 4 + 4)
    error = check_grad(lambda x: problem(x)[0], lambda x: problem(x)[1], point)
    assert error < 1e-5


def test_evidence_against_a_label_never_speaks_for_it() -> None:
    given, corrupted, kinds, _ = drawn(0.1)
    reversed_column = -given[:, :1]
    mixture = fit_mixture(reversed_column, -corrupted[:, :1], kinds)
    assert (mixture.weights[:, :-1] >= 0).all()
    free = fit_mixture(reversed_column, -corrupted[:, :1], kinds, rising=0)
    assert free.weights[0, 0] < 0
