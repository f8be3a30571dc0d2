import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gradmeter import DataError
from gradmeter.research.gradient_gain.judges import BalancedScale, Lessons, fit_logistic, fit_two_heads
from gradmeter.research.gradient_gain.regression import REGRESSORS
from gradmeter.research.gradient_gain.variants import ALONE, FORWARD, GRADIENTS, NOISE, view_of
from research.gradient_gain.blocks import AXES, block, with_column

GRADIENT = len(AXES) - 1


def lessons(samples: int, seed: int) -> Lessons:
    """Wrong predictions depend on log(1 - p) and on a gradient."""
    random = np.random.default_rng(seed)
    features = block(samples, seed)
    odds = 2 * features.values[:, 0] + 2 * features.values[:, GRADIENT] - 1
    return Lessons(features, random.random(samples) < 1 / (1 + np.exp(-odds)), (), ())


def test_the_regression_uses_gradients_if_it_reads_them() -> None:
    train, test = lessons(2000, 0), lessons(2000, 1)
    auroc = {}
    for variant in (FORWARD, GRADIENTS, NOISE, ALONE):
        judge = fit_logistic(train, view_of(variant, train.known, 0))
        auroc[variant] = roc_auc_score(test.wrong, judge(test.known).wrong)
    assert auroc[GRADIENTS] > auroc[FORWARD] + 0.05
    assert abs(auroc[NOISE] - auroc[FORWARD]) < 0.01
    assert 0.6 < auroc[ALONE] < auroc[GRADIENTS]


def test_it_learns_from_given_unknown_inputs() -> None:
    train, shift = lessons(1000, 0), 3
    unknown = with_column(block(300, 5), 1, block(300, 5).values[:, 1] + shift)
    test = with_column(block(300, 6), 1, block(300, 6).values[:, 1] + shift)
    auroc = []
    for given in ((), (unknown,)):
        judge = fit_logistic(Lessons(train.known, train.wrong, given, ()), view_of(FORWARD, train.known, 0))
        known = lessons(300, 7)
        scores = np.concatenate([judge(known.known).overall[~known.wrong], judge(test).overall])
        auroc.append(roc_auc_score(np.arange(len(scores)) >= np.count_nonzero(~known.wrong), scores))
    assert auroc[1] > auroc[0] + 0.1


def test_without_any_wrong_prediction_it_is_the_softmax() -> None:
    train = lessons(100, 0)
    judge = fit_logistic(Lessons(train.known, np.zeros(100, np.bool_), (), ()), view_of(FORWARD, train.known, 0))
    np.testing.assert_array_equal(judge(train.known).wrong, train.known.values[:, 0])


def test_too_few_right_predictions_for_gradmeters_own() -> None:
    few = lessons(8, 0)
    wrong = np.arange(8) >= 4
    with pytest.raises(DataError, match=r"4 of the 8 .* --share"):
        fit_two_heads(Lessons(few.known, wrong, (), ()), view_of(FORWARD, few.known, 0))


def test_sources_have_equal_weight_and_the_softmax_more() -> None:
    features = block(5000)
    total = (BalancedScale(features)(features) ** 2).mean(axis=0)
    np.testing.assert_allclose(total[1:4].sum(), 1, rtol=1e-2)
    np.testing.assert_allclose(total[4:].sum(), 1, rtol=1e-2)
    assert total[0] > 100


@pytest.mark.parametrize("regressor", REGRESSORS)
def test_regressors_predict_from_what_they_read(regressor: str) -> None:
    train, test = block(1500), block(800, seed=1)

    def loss(features: object) -> np.ndarray:
        return features.values[:, 1] + 2 * features.values[:, GRADIENT]  # type: ignore[attr-defined]

    left = {}
    for variant in (FORWARD, GRADIENTS):
        predict = REGRESSORS[regressor](train, loss(train), view_of(variant, train, 0))
        left[variant] = np.var(loss(test) - predict(test)) / np.var(loss(test))
    assert left[GRADIENTS] < 0.3
    assert left[FORWARD] > 0.75


def test_ridge_reads_the_probability_and_not_only_its_logarithm() -> None:
    train, test = (with_column(one, 0, -np.abs(one.values[:, 0])) for one in (block(1500), block(800, seed=1)))
    predict = REGRESSORS["ridge"](train, np.exp(train.values[:, 0]), view_of(FORWARD, train, 0))
    np.testing.assert_allclose(predict(test), np.exp(test.values[:, 0]), atol=0.01)
