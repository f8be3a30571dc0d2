"""The regressions against minimisation of their objective with SciPy."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.pipeline import Pipeline

from gradmeter.trust.regressions import REGRESSIONS, elastic_net, glm, lasso, ridge

Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def data() -> Data:
    """400 samples of 6 features on very different scales, two of them correlated; one in ten belongs to class 1."""
    random = np.random.default_rng(0)
    z = random.normal(size=(400, 6))
    z[:, 1] = z[:, 0] + 0.1 * z[:, 1]
    odds = 1.5 * z[:, 0] - z[:, 2] + 0.2 * z[:, 3] - 3
    targets = (random.random(400) < 1 / (1 + np.exp(-odds))).astype(int)
    return z * [1e-6, 1e-6, 1, 1e3, 1, 7] + [0, 0, 5, 1e4, -1, 0], targets


def z_scored(features: np.ndarray) -> np.ndarray:
    scores: np.ndarray = (features - features.mean(0)) / features.std(0)
    return scores


def objective(
    weights: np.ndarray, intercept: float, data: Data, l1: float, l2: float
) -> tuple[float, np.ndarray, float]:
    """Return the summed log loss + l1 |w|_1 + l2 / 2 |w|^2, and the derivatives of its smooth part."""
    features, targets = data
    odds = z_scored(features) @ weights + intercept
    residual = 1 / (1 + np.exp(-odds)) - targets
    value = np.logaddexp(0, odds).sum() - targets @ odds + l2 / 2 * weights @ weights
    gradient = z_scored(features).T @ residual + l2 * weights
    return float(value + l1 * np.abs(weights).sum()), gradient, float(residual.sum())


def solved(data: Data, l1: float, l2: float) -> tuple[np.ndarray, float, float]:
    """Return weights, intercept and objective by L-BFGS-B on the positive and negative parts of the weights."""
    width = data[0].shape[1]

    def split(point: np.ndarray) -> tuple[float, np.ndarray]:
        positive, negative, intercept = point[:width], point[width:-1], point[-1]
        value, gradient, free = objective(positive - negative, intercept, data, 0, l2)
        penalised = value + l1 * (positive.sum() + negative.sum())
        return penalised, np.concatenate([gradient + l1, l1 - gradient, [free]])

    bounds = [(0, None)] * (2 * width) + [(None, None)]
    optimum = minimize(
        split,
        np.zeros(2 * width + 1),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 20000, "maxfun": 40000, "ftol": 1e-15, "gtol": 1e-9},
    )
    weights, intercept = optimum.x[:width] - optimum.x[width:-1], float(optimum.x[-1])
    return weights, intercept, objective(weights, intercept, data, l1, l2)[0]


def fitted(pipeline: Pipeline, data: Data) -> tuple[np.ndarray, float]:
    regression = pipeline.fit(*data)[-1]
    return regression.coef_[0], float(regression.intercept_[0])


@pytest.mark.parametrize(
    ("factory", "l1", "l2"),
    [
        (glm, 0, 0),
        (lasso, 1, 0),
        (lambda: lasso(20), 20, 0),
        (ridge, 0, 1),
        (lambda: ridge(50), 0, 50),
        (elastic_net, 0.5, 0.5),
        (lambda: elastic_net(15, 5), 15, 5),
    ],
    ids=["glm", "lasso", "lasso 20", "ridge", "ridge 50", "elastic net", "elastic net 15 + 5"],
)
def test_the_stated_objective_is_minimised(factory: Callable[[], Pipeline], l1: float, l2: float, data: Data) -> None:
    weights, intercept = fitted(factory(), data)
    expected_weights, expected_intercept, least = solved(data, l1, l2)
    assert objective(weights, intercept, data, l1, l2)[0] == pytest.approx(least, rel=1e-5)
    np.testing.assert_allclose(weights, expected_weights, atol=5e-3)
    assert intercept == pytest.approx(expected_intercept, abs=5e-3)


def test_lambda_1_is_the_weight_of_a_penalty_on_the_sum(data: Data) -> None:
    weights, _ = fitted(lasso(), data)
    assert np.count_nonzero(weights) >= 3
    # A penalty of the same weight on the mean log loss would set all weights to 0.
    weights, _ = fitted(lasso(lambda1=len(data[1])), data)
    assert not weights.any()


def test_the_lasso_leaves_its_intercept_free(data: Data) -> None:
    # With every weight at zero the best intercept is the log odds of the classes, here far from zero.
    _, intercept = fitted(lasso(lambda1=400), data)
    share = data[1].mean()
    assert intercept == pytest.approx(np.log(share / (1 - share)), abs=0.01)


@pytest.mark.parametrize("name", REGRESSIONS)
def test_scores_do_not_depend_on_the_units_of_the_features(name: str, data: Data) -> None:
    features, targets = data
    other = features * [1e6, 1e-3, 40, 1, 1, 0.01] + 3
    scores = REGRESSIONS[name]().fit(features, targets).decision_function(features)
    again = REGRESSIONS[name]().fit(other, targets).decision_function(other)
    np.testing.assert_allclose(again, scores, atol=1e-3)


def test_the_glm_of_separable_data_ends_and_separates() -> None:
    features = np.linspace(-1, 1, 40)[:, None]
    targets = (features[:, 0] > 0).astype(int)
    pipeline = glm().fit(features, targets)
    assert (pipeline.predict(features) == targets).all()
    assert abs(pipeline[-1].coef_).max() > 20 * abs(ridge().fit(features, targets)[-1].coef_).max() / 2
