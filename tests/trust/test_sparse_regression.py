import numpy as np
import pytest
import skops.io
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from gradmeter.trust.saving import _TRUSTED
from gradmeter.trust.sparse_regression import SparseLogisticRegression


def samples(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Eight features, two of them nearly equal; few samples are positive."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, 8))
    X[:, 1] = X[:, 0] + 0.01 * X[:, 1]
    return X, random.random(n) < expit(2 * X[:, 0] - X[:, 2] - 2.5)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_the_weights_are_optimal(C: float, l1_ratio: float) -> None:
    """The gradient is 0 for weights that are not 0, and at most the L1 penalty for weights that are."""
    X, y = samples()
    model = SparseLogisticRegression(C=C, l1_ratio=l1_ratio, tol=1e-12).fit(X, y)
    weights, residual = model.coef_[0], model.predict_proba(X)[:, 1] - y
    slope, l1 = X.T @ residual + (1 - l1_ratio) / C * weights, l1_ratio / C
    used = weights != 0
    np.testing.assert_allclose(slope[used], -l1 * np.sign(weights[used]), atol=1e-4 * max(1, l1))
    assert (abs(slope[~used]) <= l1 * (1 + 1e-6)).all()
    assert residual.sum() == pytest.approx(0, abs=1e-4)


def test_it_finds_the_weights_of_liblinear() -> None:
    X, y = samples()
    expected = LogisticRegression(l1_ratio=1.0, solver="liblinear", intercept_scaling=1e4, tol=1e-9, max_iter=10_000)
    expected.set_params(random_state=0).fit(X, y)
    fitted = SparseLogisticRegression(l1_ratio=1.0, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(fitted.coef_, expected.coef_, atol=1e-3)
    np.testing.assert_allclose(fitted.predict_proba(X), expected.predict_proba(X), atol=1e-3)
    assert np.array_equal(fitted.predict(X), expected.predict(X))


def test_weights_are_finite_for_separable_classes() -> None:
    X = np.linspace(-1, 1, 41)[:, None]
    y = X[:, 0] > 0.01
    model = SparseLogisticRegression(C=1e4, l1_ratio=1.0, tol=1e-12).fit(X, y)
    slope = X[:, 0] @ (model.predict_proba(X)[:, 1] - y)
    assert slope == pytest.approx(-1e-4, rel=0.05)
    assert (model.predict(X) == y).all()


def test_too_few_steps_give_a_warning() -> None:
    X, y = samples()
    with pytest.warns(ConvergenceWarning):
        SparseLogisticRegression(l1_ratio=1.0, max_iter=2, tol=1e-12).fit(X, y)


def test_a_constant_feature_has_no_weight() -> None:
    X, y = samples()
    X[:, 5] = 3
    assert SparseLogisticRegression(l1_ratio=1.0).fit(X, y).coef_[0, 5] == 0


@pytest.mark.parametrize("classes", [1, 3])
def test_two_classes_are_needed(classes: int) -> None:
    X, _ = samples()
    with pytest.raises(ValueError, match=rf"\b{classes}\b"):
        SparseLogisticRegression(l1_ratio=1.0).fit(X, np.arange(len(X)) % classes)


def test_a_saved_model_predicts_the_same() -> None:
    X, y = samples()
    model = SparseLogisticRegression(C=0.5, l1_ratio=1.0).fit(X, y)
    loaded = skops.io.loads(skops.io.dumps(model), trusted=list(_TRUSTED))
    assert np.array_equal(loaded.decision_function(X), model.decision_function(X))


def test_the_global_random_generator_is_left_as_it_was() -> None:
    before = np.random.get_state()[1:3]  # noqa: NPY002
    SparseLogisticRegression(l1_ratio=0.5).fit(*samples())
    after = np.random.get_state()[1:3]  # noqa: NPY002
    assert np.array_equal(before[0], after[0])
    assert before[1] == after[1]
