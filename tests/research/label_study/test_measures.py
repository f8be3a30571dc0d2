import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from gradmeter.research.gradient_gain.gains import AUPR_OUT, AUROC
from gradmeter.research.gradient_gain.scored import Scored
from gradmeter.research.label_study.measures import FIRST, PRECISION, resample_planted
from gradmeter.trust.evaluation.resampling import bootstrap


def draw(seed: int, digits: int = 6) -> Scored:
    random = np.random.default_rng(seed)
    planted = np.arange(600) >= 520
    noise = random.normal(size=600)
    scores = {"good": 2 * planted + noise, "weak": 0.3 * planted + noise, "constant": np.zeros(600)}
    return Scored(planted, {name: values.round(digits) for name, values in scores.items()})


@pytest.mark.parametrize("digits", [6, 1])
def test_values_are_those_of_scikit_learn(digits: int) -> None:
    draws = [draw(seed, digits) for seed in range(3)]
    resampled = resample_planted(draws, repetitions=2)
    for name in draws[0].scores:
        for measure, oracle in ((AUROC, roc_auc_score), (AUPR_OUT, average_precision_score)):
            expected = np.mean([oracle(one.outside, one.scores[name]) for one in draws])
            assert resampled.value(measure, name) == pytest.approx(expected)


def test_precision_among_the_first() -> None:
    one = draw(0)
    resampled = resample_planted([one], repetitions=2)
    for name in ("good", "weak"):
        first = np.argsort(-one.scores[name])[:FIRST]
        assert resampled.value(PRECISION, name) == pytest.approx(one.outside[first].mean())


def test_equal_scores_count_in_proportion() -> None:
    one = draw(0, digits=1)
    # The mean over random orders of equal scores.
    random, precisions = np.random.default_rng(0), []
    for _ in range(2000):
        shuffled = random.permutation(600)
        first = shuffled[np.argsort(-one.scores["good"][shuffled], kind="stable")[:FIRST]]
        precisions.append(one.outside[first].mean())
    resampled = resample_planted([one], repetitions=2)
    assert resampled.value(PRECISION, "good") == pytest.approx(np.mean(precisions), abs=2e-3)
    assert resampled.value(PRECISION, "constant") == pytest.approx(80 / 600)


def test_fewer_samples_than_the_first() -> None:
    few = Scored(np.arange(10) < 3, {"score": np.arange(10.0)})
    assert resample_planted([few], repetitions=2).value(PRECISION, "score") == pytest.approx(0.3)


def test_intervals_are_those_of_the_library_s_bootstrap() -> None:
    one = draw(1)

    def precision(right: np.ndarray, planted: np.ndarray) -> float:
        first = np.argsort(-np.concatenate([right, planted]))[:FIRST]
        return float((first >= len(right)).mean())

    score = one.scores["good"]
    expected = bootstrap(precision, score[~one.outside], score[one.outside], repetitions=600, seed=1)
    interval = resample_planted([one], repetitions=600).interval(PRECISION, "good")
    width = expected.high - expected.low
    assert interval.value == pytest.approx(expected.value)
    assert interval.low == pytest.approx(expected.low, abs=0.2 * width)
    assert interval.high == pytest.approx(expected.high, abs=0.2 * width)


def test_gains_are_paired() -> None:
    resampled = resample_planted([draw(0), draw(1)])
    gain = resampled.gain(PRECISION, "good", "weak")
    assert gain.low > 0
    assert gain.ahead == 2
