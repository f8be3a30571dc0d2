"""The estimators of segments are chosen on images that they have not seen."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from gradmeter import InputError
from gradmeter.trust.segments.heads import answers, classification, regression
from trust.segments.loops import drawn

GIVEN = drawn(60, 10)
IOU = GIVEN.adjusted_iou
assert IOU is not None


def test_the_classifier_with_the_least_loss_is_chosen() -> None:
    head = classification(GIVEN.values, IOU > 0, GIVEN.image, GIVEN.axes)
    assert head.losses[head.name] == min(head.losses.values())
    assert log_loss(IOU > 0, head.held_out) == pytest.approx(head.losses[head.name])
    assert roc_auc_score(IOU > 0, head.held_out) > 0.9
    new = drawn(30, 10, seed=1)
    assert new.adjusted_iou is not None
    assert roc_auc_score(new.adjusted_iou > 0, answers(head.estimator, new.values, "predict_proba")) > 0.9


def test_rounding_errors_of_the_features_do_not_show() -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(600, 6)) @ random.normal(size=(6, 90)) + 0.01 * random.normal(size=(600, 90))
    hits = X[:, 0] + random.normal(size=600) > 0
    image, axes = np.arange(600) // 8, GIVEN.axes[:1] * 90
    first, second = (
        classification(X * (1 + error), hits, image, axes).losses for error in (0, 1e-7 * random.normal(size=X.shape))
    )
    for name in first.keys() - {"gradient boosting"}:
        assert second[name] == pytest.approx(first[name], rel=1e-6)


def test_held_out_predictions_know_nothing_of_their_image() -> None:
    # An image's own feature tells its segments apart, and nothing about those of other images.
    random = np.random.default_rng(0)
    image = np.repeat(np.arange(40), 10)
    hits = random.random(40)[image] < 0.5
    X = np.concatenate([np.eye(40)[image], random.normal(size=(400, 1))], axis=1)
    head = classification(X, hits, image, GIVEN.axes[:1] * 41)
    assert roc_auc_score(hits, head.held_out) < 0.65


def test_the_regression_stays_in_its_range() -> None:
    head = regression(GIVEN.values, IOU, GIVEN.image, GIVEN.axes)
    assert head.losses[head.name] == min(head.losses.values()) < 0.5 * IOU.var()
    assert 0 <= head.held_out.min() <= head.held_out.max() <= 1
    assert len(head.held_out) == len(IOU)


@pytest.mark.parametrize("reason", ["few wrong", "few right", "few images"])
def test_too_little_to_learn_from(reason: str) -> None:
    hits = np.ones(len(GIVEN), bool)
    hits[GIVEN.image < 4 if reason == "few images" else slice(0, 9)] = False
    with pytest.raises(InputError, match="expected at least 10"):
        classification(GIVEN.values, ~hits if reason == "few right" else hits, GIVEN.image, GIVEN.axes)
