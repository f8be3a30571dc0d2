import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from gradmeter.trust.candidates import ConfidenceCurve, Regression
from gradmeter.trust.confidence import KnownFeatures, class_log_odds

CLASSES = 3


def sample(count: int, seed: int, classes: int = CLASSES) -> tuple[KnownFeatures, np.ndarray]:
    """Return features of predictions, and whether they are wrong; the group "embedding" knows the label."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    embedding = 2 * np.eye(classes)[labels] + random.normal(size=(count, classes))
    logits = 2 * np.eye(classes)[labels] + random.normal(0, 1.5, (count, classes))
    predicted = logits.argmax(axis=1)
    odds = class_log_odds(logits, predicted)
    return KnownFeatures(logits, -np.logaddexp(0, -odds), {"embedding": embedding}), predicted != labels


def test_the_curve_of_the_softmax_is_a_logistic_regression() -> None:
    X, wrong = sample(800, 0)
    curve = ConfidenceCurve().fit(X, wrong)
    odds = class_log_odds(X.logits, X.logits.argmax(axis=1))
    free = LogisticRegression(C=np.inf, tol=1e-8).fit(odds[:, None], wrong)
    np.testing.assert_allclose(expit(curve.log_odds(X)), free.predict_proba(odds[:, None])[:, 1], atol=2e-3)
    assert curve.rises


def test_a_strong_penalty_leaves_the_confidence_score_alone() -> None:
    X, wrong = sample(800, 4)
    regression = Regression(group="embedding", strength=1e-9).fit(X, wrong)
    curve = ConfidenceCurve().fit(X, wrong)
    assert np.corrcoef(regression.log_odds(X), curve.log_odds(X))[0, 1] > 0.9999
