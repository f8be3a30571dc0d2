import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import average_precision_score, r2_score, roc_auc_score

from gradmeter.research.gradient_gain.gains import (
    AUPR_OUT,
    AUROC,
    R2,
    SPEARMAN,
    Gain,
    complete,
    holm,
    resample_cases,
    resample_predictions,
)
from gradmeter.research.gradient_gain.scored import Predicted, Scored
from gradmeter.trust.evaluation.resampling import bootstrap


def draw(seed: int, better: float = 1.0) -> Scored:
    random = np.random.default_rng(seed)
    outside = np.arange(400) >= 300
    noise = random.normal(size=400)
    scores = {"plain": outside + noise, "same": outside + noise, "better": (1 + better) * outside + noise}
    return Scored(outside, {name: values.round(2) for name, values in scores.items()})


def test_values_are_means_over_draws_of_scikit_learn_s_measures() -> None:
    draws = [draw(0), draw(1), draw(2)]
    resampled = resample_cases(draws, repetitions=2)
    for measure, oracle in ((AUROC, roc_auc_score), (AUPR_OUT, average_precision_score)):
        for name in ("plain", "better"):
            expected = np.mean([oracle(one.outside, one.scores[name]) for one in draws])
            assert resampled.value(measure, name) == pytest.approx(expected)


def test_the_interval_is_that_of_the_library_s_bootstrap() -> None:
    draws = [draw(0, 0.2), draw(1, 0.2)]
    gain = resample_cases(draws, repetitions=600).gain(AUROC, "better", "plain")

    def difference(*groups: NDArray[np.float64]) -> float:
        values = []
        for inside, outside in zip(groups[::2], groups[1::2], strict=True):
            truth = np.repeat([0, 1], [len(inside), len(outside)])
            both = np.concatenate([inside, outside])
            values.append(float(truth @ (rankdata(both[:, 1]) - rankdata(both[:, 0]))) / len(inside) / len(outside))
        return float(np.mean(values))

    groups = []
    for one in draws:
        columns = np.stack([one.scores["plain"], one.scores["better"]], axis=1)
        groups += [columns[~one.outside], columns[one.outside]]
    expected = bootstrap(difference, *groups, repetitions=600, seed=1)
    assert gain.value == pytest.approx(expected.value)
    width = expected.high - expected.low
    assert gain.low == pytest.approx(expected.low, abs=0.15 * width)
    assert gain.high == pytest.approx(expected.high, abs=0.15 * width)
    assert gain.verdict == "adds"
    assert gain.p < 0.05
    assert gain.ahead == 2


def test_equal_methods_differ_by_nothing() -> None:
    gain = resample_cases([draw(0)], repetitions=20).gain(AUROC, "same", "plain")
    assert gain == Gain(0.0, 0.0, 0.0, 1.0, 0)
    assert gain.verdict == "does not"


def test_a_loss_is_a_gain_the_other_way_round() -> None:
    resampled = resample_cases([draw(0)], repetitions=200)
    loss, gain = (resampled.gain(AUROC, *pair) for pair in (("plain", "better"), ("better", "plain")))
    assert loss.verdict == "hurts"
    assert (loss.value, loss.low, loss.high) == pytest.approx((-gain.value, -gain.high, -gain.low))


def test_regression_measures() -> None:
    random = np.random.default_rng(0)
    loss = random.exponential(size=300)
    predictions = {"good": loss + 0.1 * random.normal(size=300), "bad": 0.2 * loss, "constant": np.ones(300)}
    resampled = resample_predictions([Predicted(loss, predictions)], repetitions=100)
    for name, values in predictions.items():
        assert resampled.value(R2, name) == pytest.approx(r2_score(loss, values))
    assert resampled.value(SPEARMAN, "good") == pytest.approx(spearmanr(loss, predictions["good"]).statistic)
    assert resampled.value(SPEARMAN, "constant") == 0
    assert resampled.gain(R2, "good", "bad").verdict == "adds"


def test_holm() -> None:
    # The example of Holm's paper in other numbers: sorted, each is multiplied by the number of those left.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_draws_without_two_of_each_are_left_out() -> None:
    outside = np.arange(10) >= 9
    assert [len(one.outside) for one in complete([draw(0), Scored(outside, {}), Scored(~outside, {})])] == [400]
