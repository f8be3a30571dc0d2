import numpy as np
import pytest
import skops.io
from scipy.optimize import approx_fprime
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from gradmeter.trust.saving import _TRUSTED
from gradmeter.trust.signed_regression import SignedLogisticRegression

WEIGHTS = np.array([1.0, -2.0, 0.5, -1.5])


def samples(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return samples in which the second and fourth feature have negative weights; a fifth are positive."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, 4)) * [1, 2, 1, 0.5]
    return X, random.random(n) < expit(X @ WEIGHTS - 2)


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_without_a_limit_it_is_that_of_scikit_learn(C: float) -> None:
    X, y = samples()
    expected = LogisticRegression(C=C, class_weight="balanced", tol=1e-8, max_iter=5000).fit(X, y)
    fitted = SignedLogisticRegression(C).fit(X, y)
    np.testing.assert_allclose(fitted.coef_, expected.coef_[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(fitted.intercept_, expected.intercept_[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(fitted.decision_function(X), expected.decision_function(X), rtol=1e-3, atol=1e-3)


def test_weights_that_may_not_be_negative() -> None:
    """The weights are the constrained optimum: the gradient is 0, or positive for weights at their bound."""
    X, y = samples()
    fitted = SignedLogisticRegression(1.0, positive=2).fit(X, y)
    assert fitted.coef_[0] > 0
    assert fitted.coef_[1] == 0
    assert fitted.coef_[3] < 0
    weight = len(y) / 2 / np.where(y, y.sum(), (~y).sum())

    def loss(at: np.ndarray) -> float:
        margin = np.where(y, 1, -1) * (X @ at[:-1] + at[-1])
        return float(weight @ np.logaddexp(0, -margin) + at[:-1] @ at[:-1] / 2)

    slope = approx_fprime(np.append(fitted.coef_, fitted.intercept_), loss, 1e-6)
    np.testing.assert_allclose(slope[[0, 2, 3, 4]], 0, atol=0.02)
    assert slope[1] > 1


def test_where_the_limit_holds_the_feature_is_as_good_as_absent() -> None:
    X, y = samples()
    with_it = SignedLogisticRegression(1.0, positive=2).fit(X, y)
    without = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-8).fit(X[:, [0, 2, 3]], y)
    np.testing.assert_allclose(with_it.coef_[[0, 2, 3]], without.coef_[0], rtol=2e-3)


@pytest.mark.parametrize("C", [0.1, 1.0, 10.0])
def test_left_out_samples_get_the_odds_of_a_fit_without_them(C: float) -> None:
    X, y = samples(n=60)
    model = SignedLogisticRegression(C, positive=2).fit(X, y)
    assert model.coef_[1] == 0
    free = X[:, [0, 2, 3]]
    weights = len(y) / 2 / np.where(y, y.sum(), (~y).sum())
    expected = np.empty(len(y))
    for sample in range(len(y)):
        others = np.arange(len(y)) != sample
        exact = LogisticRegression(C=C, tol=1e-8, max_iter=5000)
        exact.fit(free[others], y[others], sample_weight=weights[others])
        expected[sample] = exact.decision_function(free[[sample]])[0]
    moved = model.left_out(X, y) - model.decision_function(X)
    by_exact_fits = expected - model.decision_function(X)
    assert np.abs(by_exact_fits).max() > 0.1
    np.testing.assert_allclose(moved, by_exact_fits, rtol=0.25, atol=0.01)


def test_a_saved_model_predicts_the_same() -> None:
    X, y = samples()
    model = SignedLogisticRegression(0.5, positive=1).fit(X, y)
    loaded = skops.io.loads(skops.io.dumps(model), trusted=list(_TRUSTED))
    assert np.array_equal(loaded.decision_function(X), model.decision_function(X))
