import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from gradmeter.trust.unchecked import log_odds, standardised

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("count", [1, 3, 500])
@pytest.mark.parametrize("width", [1, 40])
def test_equal_to_scikit_learn_to_the_bit(count: int, width: int) -> None:
    X = RANDOM.normal(3, 10.0 ** RANDOM.uniform(-6, 6, width), (500, width))
    scaler = StandardScaler().fit(X)
    scaled = standardised(scaler, X[:count])
    assert np.array_equal(scaled, scaler.transform(X[:count]))
    model = LogisticRegression().fit(scaler.transform(X), RANDOM.integers(2, size=500))
    assert np.array_equal(log_odds(model, scaled), model.decision_function(scaled))


def test_constant_columns() -> None:
    X = np.hstack([RANDOM.normal(size=(20, 1)), np.full((20, 1), 7.0)])
    scaler = StandardScaler().fit(X)
    assert np.array_equal(standardised(scaler, X), scaler.transform(X))
