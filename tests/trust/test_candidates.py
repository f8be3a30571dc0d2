import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from gradmeter.trust.candidates import ConfidenceCurve, Regression, SecondOpinion
from gradmeter.trust.confidence import KnownFeatures, class_log_odds

CLASSES = 3


def sample(count: int, seed: int, classes: int = CLASSES) -> tuple[KnownFeatures, np.ndarray, np.ndarray]:
    """Return features of predictions, labels, and whether they are wrong; the group "embedding" knows the label."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    embedding = 2 * np.eye(classes)[labels] + random.normal(size=(count, classes))
    logits = 2 * np.eye(classes)[labels] + random.normal(0, 1.5, (count, classes))
    predicted = logits.argmax(axis=1)
    odds = class_log_odds(logits, predicted)
    return KnownFeatures(logits, -np.logaddexp(0, -odds), {"embedding": embedding}), predicted != labels, labels


def test_the_curve_of_the_softmax_is_a_logistic_regression() -> None:
    X, wrong, labels = sample(800, 0)
    curve = ConfidenceCurve().fit(X, wrong, labels)
    odds = class_log_odds(X.logits, X.logits.argmax(axis=1))
    free = LogisticRegression(C=np.inf, tol=1e-8).fit(odds[:, None], wrong)
    np.testing.assert_allclose(expit(curve.log_odds(X)), free.predict_proba(odds[:, None])[:, 1], atol=2e-3)
    assert curve.rises


@pytest.mark.parametrize("classes", [2, CLASSES])
def test_a_second_opinion_helps(classes: int) -> None:
    X, wrong, labels = sample(2000, 1, classes)
    opinion = SecondOpinion(group="embedding").fit(X, wrong, labels)
    new, new_wrong, _ = sample(2000, 2, classes)
    alone = roc_auc_score(new_wrong, ConfidenceCurve().fit(X, wrong, labels).log_odds(new))
    assert roc_auc_score(new_wrong, opinion.log_odds(new)) > alone + 0.02


def test_a_second_opinion_without_samples_of_a_class() -> None:
    X, wrong, labels = sample(600, 3)
    kept = labels != 1
    opinion = SecondOpinion(group="embedding").fit(X.rows(kept), wrong[kept], labels[kept])
    assert np.isfinite(opinion.log_odds(X)).all()


def test_a_strong_penalty_leaves_the_confidence_score_alone() -> None:
    X, wrong, labels = sample(800, 4)
    regression = Regression(group="embedding", strength=1e-9).fit(X, wrong, labels)
    curve = ConfidenceCurve().fit(X, wrong, labels)
    assert np.corrcoef(regression.log_odds(X), curve.log_odds(X))[0, 1] > 0.9999
