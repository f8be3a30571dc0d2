from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from gradmeter.trust.candidates import ConfidenceCurve, Regression
from gradmeter.trust.confidence import ScoredFeatures, class_log_odds

CLASSES = 3


def sample(count: int, seed: int, classes: int = CLASSES) -> tuple[ScoredFeatures, np.ndarray]:
    """Return features of predictions, and whether they are wrong; the group "embedding" knows the label."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    embedding = 2 * np.eye(classes)[labels] + random.normal(size=(count, classes))
    logits = 2 * np.eye(classes)[labels] + random.normal(0, 1.5, (count, classes))
    predicted = logits.argmax(axis=1)
    return ScoredFeatures(class_log_odds(logits, predicted), {"embedding": embedding}), predicted != labels


def test_the_curve_of_the_softmax_is_a_logistic_regression() -> None:
    X, wrong = sample(800, 0)
    curve = ConfidenceCurve().fit(X, wrong)
    free = LogisticRegression(C=np.inf, tol=1e-8).fit(X.doubts[:, None], wrong)
    np.testing.assert_allclose(expit(curve.log_odds(X)), free.predict_proba(X.doubts[:, None])[:, 1], atol=2e-3)
    assert curve.rises_


@pytest.mark.parametrize("columns", [3, 100, 400])
def test_a_regression_is_fitted_to_its_optimum(columns: int) -> None:
    """Where the solver stopped early, the probabilities depended on rounding errors of the features."""
    X, wrong = sample(800, 0)
    random = np.random.default_rng(0)
    noise = random.normal(size=(800, 3)) @ random.normal(size=(3, columns)) + random.normal(size=(800, columns)) / 3
    X = replace(X, groups={"embedding": np.hstack([X.groups["embedding"], noise])})
    regression = Regression(group="embedding").fit(X, wrong)
    used = regression._columns(X)
    exact = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(used, wrong).predict_proba(used)[:, 1]
    np.testing.assert_allclose(expit(regression.log_odds(X)), exact, rtol=0, atol=1e-4)


def test_a_strong_penalty_leaves_the_confidence_score_alone() -> None:
    X, wrong = sample(800, 4)
    regression = Regression(group="embedding", strength=1e-9).fit(X, wrong)
    curve = ConfidenceCurve().fit(X, wrong)
    assert np.corrcoef(regression.log_odds(X), curve.log_odds(X))[0, 1] > 0.9999
